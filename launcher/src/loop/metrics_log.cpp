#include "hone/launcher/loop/metrics_log.hpp"

#include <fcntl.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <fstream>
#include <string>
#include <utility>

#include <nlohmann/json.hpp>

#include "hone/core/files/published_file.hpp"
#include "hone/core/printable.hpp"

namespace hone::launcher {
namespace {

using nlohmann::json;

bool is_beyond(const json& record, const char* key, std::int64_t last) {
  const auto found = record.find(key);
  return found != record.end() && found->is_number() &&
         found->get<double>() > static_cast<double>(last);
}

bool stays(const std::string& line, std::int64_t step, std::int64_t round) {
  const json record = json::parse(line, nullptr, /*allow_exceptions=*/false);
  if (!record.is_object()) return false;
  const auto kind = record.find("kind");
  const bool is_round = kind != record.end() && *kind == "round";
  return !is_beyond(record, "step", step) && !(is_round && is_beyond(record, "round", round));
}

}  // namespace

MetricsLog::MetricsLog(std::filesystem::path path, Logger& logger)
    : path_(std::move(path)), logger_(logger) {}

int MetricsLog::try_append(std::string_view json_object) {
  if (!file_.is_open()) {
    file_ = FileDescriptor{
        ::open(path_.c_str(), O_WRONLY | O_CREAT | O_APPEND | O_NOFOLLOW | O_CLOEXEC, 0666)};
    if (!file_.is_open()) return errno;
  }
  const off_t before = ::lseek(file_.get(), 0, SEEK_END);
  const int reason = write_all(file_.get(), std::string{json_object} + "\n");
  // Half a line would spoil the next one too.
  if (reason != 0 && before >= 0 && ::ftruncate(file_.get(), before) != 0) return errno;
  return reason;
}

void MetricsLog::append(std::string_view json_object) noexcept {
  try {
    const int reason = try_append(json_object);
    if (reason == 0 || std::exchange(has_warned_, true)) return;
    logger_.warning(printable(path_.string()) + " cannot be written (" + std::strerror(reason) +
                    "); training goes on without these records");
  } catch (...) {  // no memory for a log line: nothing to do about it here
  }
}

void MetricsLog::discard_after(std::int64_t step, std::int64_t round) {
  std::ifstream old{path_};
  if (!old) return;
  std::string kept;
  bool all_stay = true;
  for (std::string line; std::getline(old, line);) {
    const bool is_whole = !old.eof();  // the last line, without its end, was cut by a kill
    if (is_whole && stays(line, step, round)) {
      kept += line + "\n";
    } else {
      all_stay = false;
    }
  }
  if (all_stay) return;
  file_.reset();
  write_durably(path_, kept);
}

}  // namespace hone::launcher
