#include "hone/launcher/screen.hpp"

#include <algorithm>

#include "hone/core/printable.hpp"

namespace hone::launcher {
namespace {

constexpr std::chrono::milliseconds kBetweenDraws{200};

}  // namespace

std::string plain_line(const Fields& fields) {
  std::string line;
  for (const auto& [name, value] : fields) {
    const std::string shown = printable(value);
    const bool needs_quotes = shown.empty() || shown.find_first_of(" =\"") != std::string::npos;
    if (!line.empty()) line += ' ';
    line += name + '=' + (needs_quotes ? '"' + shown + '"' : shown);
  }
  return line;
}

std::string terminal_line(const Fields& fields, std::size_t columns) {
  std::string line;
  for (const auto& [name, value] : fields) {
    line += (line.empty() ? "" : "  ") + name + ' ' + printable(value);
  }
  std::size_t end = 0;
  for (std::size_t column = 0; column < columns && end < line.size(); ++column) {
    end += std::max<std::size_t>(utf8_length(std::string_view{line}.substr(end)), 1);
  }
  line.resize(std::min(end, line.size()));
  return line;
}

Screen::Screen(const Terminal& terminal, std::ostream& out, std::ostream& err, Clock clock)
    : terminal_(terminal), out_(out), err_(err), clock_(std::move(clock)) {}

Screen::~Screen() {
  const std::lock_guard lock{mutex_};
  if (drawn_.empty()) return;
  if (latest_ != drawn_) draw(latest_);
  out_ << '\n' << std::flush;
}

void Screen::mute_output() {
  const std::lock_guard lock{mutex_};
  muted_ = true;
}

void Screen::progress(const Fields& fields, bool due) {
  const std::lock_guard lock{mutex_};
  if (muted_) return;
  if (!terminal_.interactive) {
    if (due) out_ << plain_line(fields) << '\n' << std::flush;
    return;
  }
  // The last column stays free: some terminals wrap on it.
  latest_ = terminal_line(fields, static_cast<std::size_t>(terminal_.columns - 1));
  const auto now = clock_();
  if (!drawn_.empty() && now - drawn_at_ < kBetweenDraws) return;
  draw(latest_);
  drawn_at_ = now;
}

void Screen::print(std::string_view text) {
  const std::lock_guard lock{mutex_};
  if (muted_) return;
  erase_progress();
  out_ << text << std::flush;
}

void Screen::print_error(std::string_view text) {
  const std::lock_guard lock{mutex_};
  erase_progress();
  err_ << text << std::flush;
}

void Screen::erase_progress() {
  if (drawn_.empty()) return;
  out_ << "\r\x1b[K" << std::flush;
  drawn_.clear();
}

void Screen::draw(const std::string& line) {
  out_ << '\r' << line << "\x1b[K" << std::flush;
  drawn_ = line;
}

}  // namespace hone::launcher
