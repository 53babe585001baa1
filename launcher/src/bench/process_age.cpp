#include "bench/process_age.hpp"

#include <unistd.h>

#include <ctime>
#include <fstream>
#include <sstream>
#include <string>

namespace hone::launcher {

double seconds_since_start() {
  std::ifstream file{"/proc/self/stat"};
  std::string text;
  std::getline(file, text);
  const auto name_end = text.rfind(')');  // the program's name may hold anything
  if (name_end == std::string::npos) return 0.0;
  std::istringstream fields{text.substr(name_end + 1)};
  constexpr int kFieldsBefore = 19;  // of the start, counted from behind the name
  std::string skipped;
  for (int i = 0; i < kFieldsBefore; ++i) fields >> skipped;
  double ticks = 0.0;
  timespec now{};
  if (!(fields >> ticks) || clock_gettime(CLOCK_BOOTTIME, &now) != 0) return 0.0;
  return static_cast<double>(now.tv_sec) + static_cast<double>(now.tv_nsec) * 1e-9 -
         ticks / static_cast<double>(sysconf(_SC_CLK_TCK));
}

}  // namespace hone::launcher
