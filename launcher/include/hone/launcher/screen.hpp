#pragma once

#include <chrono>
#include <functional>
#include <mutex>
#include <ostream>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "hone/launcher/terminal.hpp"

namespace hone::launcher {

/// Names and values of one progress report, in the order of display.
using Fields = std::vector<std::pair<std::string, std::string>>;

/// All that this process shows: standard output and standard error of one rank, so that a progress
/// line that overwrites itself and messages do not tear each other apart.
/// Thread-safety: all methods from any thread. Never throws where a stream does not take text.
class Screen {
 public:
  using Clock = std::function<std::chrono::steady_clock::time_point()>;

  /// `terminal` is what `out` leads to. Ownership: the streams outlive this object.
  Screen(const Terminal& terminal, std::ostream& out, std::ostream& err,
         Clock clock = std::chrono::steady_clock::now);
  /// Ends an open progress line.
  ~Screen();

  Screen(const Screen&) = delete;
  Screen& operator=(const Screen&) = delete;

  /// From here on nothing goes to standard output: for ranks other than 0.
  void mute_output();

  /// Shows where the job stands. On a terminal one line that overwrites itself, at most 5 times a
  /// second; elsewhere a line "step=10 loss=2.41", only where `due` (every logging_steps, say).
  void progress(const Fields& fields, bool due);

  /// Text with its own line breaks to standard output. Foreign text goes through printable() first.
  void print(std::string_view text);

  /// The same to standard error.
  void print_error(std::string_view text);

  const Terminal& terminal() const { return terminal_; }

 private:
  void erase_progress();
  void draw(const std::string& line);

  const Terminal terminal_;
  std::ostream& out_;
  std::ostream& err_;
  const Clock clock_;
  std::mutex mutex_;
  bool muted_ = false;
  std::string drawn_;   ///< the progress line on the terminal; empty while there is none
  std::string latest_;  ///< the newest one, maybe held back by the limit of 5 a second
  std::chrono::steady_clock::time_point drawn_at_{};
};

/// "step=10 loss=2.41 note=\"a b\"".
std::string plain_line(const Fields& fields);

/// "step 10  loss 2.41", cut to `columns`.
std::string terminal_line(const Fields& fields, std::size_t columns);

}  // namespace hone::launcher
