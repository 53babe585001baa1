#pragma once

#include <filesystem>
#include <functional>
#include <memory>
#include <string_view>

#include "hone/core/logger.hpp"

namespace hone::launcher {

/// What one rank reports: everything into its own file `logs/rank-N.log` with the time, rank 0's
/// infos and warnings and everybody's errors to the screen as well.
///
/// Control characters are escaped; further lines of a message are indented, so that no message can
/// pass for another one's first line.
/// Thread-safety: all methods from any thread.
/// Never throws from write(): where the file takes no more (disk full) the screen is told once.
class RankLogger final : public Logger {
 public:
  /// `to_screen` gets whole lines with their line break, from any thread, several at once.
  explicit RankLogger(std::function<void(std::string_view)> to_screen);
  ~RankLogger() override;

  /// Which rank speaks, and from where. Until then this is rank 0.
  void set_rank(int rank, std::string_view host);

  /// Begins or continues `<output_dir>/logs/rank-N.log`, with what was written before. Where that
  /// cannot be opened, the screen is told and messages go on without the file.
  void open(const std::filesystem::path& output_dir);

  /// The log file; empty before open() and where that failed.
  std::filesystem::path file() const;

  void write(LogLevel level, std::string_view message) override;

  /// Into the file only.
  void record(LogLevel level, std::string_view message) noexcept;

 private:
  struct Implementation;
  std::unique_ptr<Implementation> implementation_;
};

}  // namespace hone::launcher
