#include "hone/launcher/exit_record.hpp"

#include <fstream>
#include <nlohmann/json.hpp>

namespace hone::launcher {
namespace {

std::filesystem::path record_path(const std::filesystem::path& output_dir, int rank) {
  return output_dir / "exit" / ("rank-" + std::to_string(rank) + ".json");
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

void remove_exit_record(const std::filesystem::path& output_dir, int rank) noexcept {
  std::error_code ignored;
  std::filesystem::remove(record_path(output_dir, rank), ignored);
}

}  // namespace hone::launcher
