#include "hone/launcher/rank_logger.hpp"

#include <spdlog/logger.h>
#include <spdlog/sinks/basic_file_sink.h>

#include <limits>
#include <mutex>
#include <utility>
#include <vector>

#include "hone/core/printable.hpp"

namespace hone::launcher {
namespace {

constexpr auto kPattern = "%Y-%m-%dT%H:%M:%S.%e%z %^%l%$ %v";
constexpr std::size_t kMostHeld = 1000;

spdlog::level::level_enum to_spdlog(LogLevel level) {
  switch (level) {
    case LogLevel::Debug: return spdlog::level::debug;
    case LogLevel::Info: return spdlog::level::info;
    case LogLevel::Warning: return spdlog::level::warn;
    case LogLevel::Error: return spdlog::level::err;
  }
  return spdlog::level::err;
}

const char* prefix_of(LogLevel level) {
  switch (level) {
    case LogLevel::Warning: return "warning: ";
    case LogLevel::Error: return "error: ";
    default: return "";
  }
}

/// `message` without what a terminal acts on; line breaks stay, followed by an indent.
std::string tidy(std::string_view message) {
  std::string text;
  while (true) {
    const auto end = message.find('\n');
    text += printable(message.substr(0, end), std::numeric_limits<std::size_t>::max());
    if (end == std::string_view::npos || end + 1 == message.size()) return text;
    text += "\n  ";
    message.remove_prefix(end + 1);
  }
}

}  // namespace

struct RankLogger::Implementation {
  std::function<void(std::string_view)> to_screen;
  int rank = 0;
  std::string tag;
  std::mutex mutex;  ///< over all members
  std::shared_ptr<spdlog::logger> file;
  std::filesystem::path path;
  std::vector<std::pair<LogLevel, std::string>> held;  ///< what came before the file
  bool told_of_failure = false;

  void tell_failure(const std::string& reason) {
    if (std::exchange(told_of_failure, true)) return;
    to_screen("warning: log file: " + tidy(reason) + "; going on without it\n");
  }

  void into_file(LogLevel level, const std::string& text) {
    if (file) {
      file->log(to_spdlog(level), spdlog::string_view_t{text});
    } else if (held.size() < kMostHeld) {
      held.emplace_back(level, text);
    }
  }
};

RankLogger::RankLogger(std::function<void(std::string_view)> to_screen)
    : implementation_(std::make_unique<Implementation>()) {
  implementation_->to_screen = std::move(to_screen);
}

RankLogger::~RankLogger() = default;

void RankLogger::set_rank(int rank, std::string_view host) {
  const std::lock_guard lock{implementation_->mutex};
  implementation_->rank = rank;
  implementation_->tag = "[rank " + std::to_string(rank) + " @ " + std::string{host} + "] ";
}

void RankLogger::open(const std::filesystem::path& output_dir) {
  Implementation& self = *implementation_;
  const std::lock_guard lock{self.mutex};
  const auto path = output_dir / "logs" / ("rank-" + std::to_string(self.rank) + ".log");
  try {
    std::filesystem::create_directories(path.parent_path());
    auto sink = std::make_shared<spdlog::sinks::basic_file_sink_mt>(path.string());
    auto logger = std::make_shared<spdlog::logger>("rank", std::move(sink));
    logger->set_pattern(kPattern);
    logger->set_level(spdlog::level::debug);
    // A killed rank must not take its last words along.
    logger->flush_on(spdlog::level::debug);
    logger->set_error_handler([&self](const std::string& reason) { self.tell_failure(reason); });
    self.file = std::move(logger);
    self.path = path;
  } catch (const std::exception& error) {
    self.tell_failure(error.what());
    return;
  }
  for (const auto& [level, text] : self.held) {
    self.file->log(to_spdlog(level), spdlog::string_view_t{text});
  }
  self.held.clear();
}

std::filesystem::path RankLogger::file() const {
  const std::lock_guard lock{implementation_->mutex};
  return implementation_->path;
}

void RankLogger::write(LogLevel level, std::string_view message) {
  Implementation& self = *implementation_;
  const std::string text = tidy(message);
  std::string tag;
  {
    const std::lock_guard lock{self.mutex};
    self.into_file(level, text);
    const bool root = self.rank == 0;
    if (level < (root ? LogLevel::Info : LogLevel::Error)) return;
    if (!root) tag = self.tag;
  }
  // Unlocked: a screen that nobody reads must not keep another thread's last words from the file.
  self.to_screen(tag + prefix_of(level) + text + '\n');
}

void RankLogger::record(LogLevel level, std::string_view message) noexcept {
  try {
    const std::lock_guard lock{implementation_->mutex};
    implementation_->into_file(level, tidy(message));
  } catch (...) {  // out of memory: the screen has the message
  }
}

}  // namespace hone::launcher
