#include "hone/launcher/exit_record.hpp"

#include <charconv>
#include <fstream>
#include <nlohmann/json.hpp>
#include <optional>
#include <string_view>

namespace hone::launcher {
namespace {

constexpr std::string_view kPrefix = "rank-";

std::string record_name(int rank) {
  return std::string{kPrefix} + std::to_string(rank) + ".json";
}

std::filesystem::path record_path(const std::filesystem::path& output_dir, int rank) {
  return output_dir / "exit" / record_name(rank);
}

/// 3 for "rank-3.json"; nothing for what is no record.
std::optional<int> rank_of(std::string_view name) {
  if (!name.starts_with(kPrefix)) return std::nullopt;
  int rank = 0;
  std::from_chars(name.data() + kPrefix.size(), name.data() + name.size(), rank);
  return record_name(rank) == name ? std::optional{rank} : std::nullopt;
}

}  // namespace

bool write_exit_record(const std::filesystem::path& output_dir, int rank,
                       const ExitRecord& record) noexcept {
  try {
    const nlohmann::json json{
        {"code", record.code}, {"reason", record.reason}, {"step", record.step}};
    // Reasons may quote bytes that are not UTF-8.
    const std::string text = json.dump(2, ' ', false, nlohmann::json::error_handler_t::replace);
    const auto path = record_path(output_dir, rank);
    auto aside = path;
    aside += ".tmp";
    std::filesystem::create_directories(path.parent_path());
    std::ofstream file{aside, std::ios::trunc};
    file << text << '\n';
    file.close();
    if (!file) {
      std::error_code ignored;
      std::filesystem::remove(aside, ignored);
      return false;
    }
    std::filesystem::rename(aside, path);
    return true;
  } catch (...) {
    return false;
  }
}

void remove_old_exit_records(const std::filesystem::path& output_dir, int rank,
                             int num_ranks) noexcept {
  try {
    std::error_code ignored;
    std::filesystem::remove(record_path(output_dir, rank), ignored);
    if (rank != 0) return;
    for (const auto& entry : std::filesystem::directory_iterator{output_dir / "exit"}) {
      const auto other = rank_of(entry.path().filename().string());
      if (other && *other >= num_ranks) std::filesystem::remove(entry.path(), ignored);
    }
  } catch (const std::filesystem::filesystem_error&) {  // most often there is no such folder yet
  }
}

}  // namespace hone::launcher
