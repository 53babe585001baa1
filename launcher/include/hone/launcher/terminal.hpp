#pragma once

#include <cstddef>

namespace hone::launcher {

/// What a stream leads to.
struct Terminal {
  bool interactive = false;  ///< somebody watches: a line may overwrite itself
  int columns = 0;
  bool color = false;
};

/// Under mpirun standard output is always a pseudo terminal, also where it ends in a file: only a
/// window width tells that somebody watches.
constexpr bool is_interactive(bool is_tty, int columns) { return is_tty && columns > 0; }

/// Looks at an open file descriptor. `no_color`: NO_COLOR is set.
Terminal inspect_terminal(int descriptor, bool no_color);

/// Columns for running text: the terminal's, within reason, or 100 where there is none.
std::size_t text_width(const Terminal& terminal);

}  // namespace hone::launcher
