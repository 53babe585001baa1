#include "hone/launcher/terminal.hpp"

#include <sys/ioctl.h>
#include <unistd.h>

#include <algorithm>

namespace hone::launcher {

Terminal inspect_terminal(int descriptor, bool no_color) {
  winsize size{};
  const bool is_tty = isatty(descriptor) == 1;
  const int columns = ioctl(descriptor, TIOCGWINSZ, &size) == 0 ? size.ws_col : 0;
  const bool interactive = is_interactive(is_tty, columns);
  return {.interactive = interactive, .columns = columns, .color = interactive && !no_color};
}

std::size_t text_width(const Terminal& terminal) {
  if (!terminal.interactive) return 100;
  return static_cast<std::size_t>(std::clamp(terminal.columns, 60, 120));
}

}  // namespace hone::launcher
