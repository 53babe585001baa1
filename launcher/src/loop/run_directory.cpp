#include "hone/launcher/loop/run_directory.hpp"

#include <algorithm>
#include <array>
#include <cstdio>
#include <cstring>
#include <string>
#include <tuple>
#include <utility>

#include "durable_file.hpp"
#include "hone/core/error.hpp"
#include "hone/core/printable.hpp"

namespace hone::launcher {
namespace {

namespace fs = std::filesystem;

void create(const fs::path& path) {
  std::error_code error;
  fs::create_directories(path, error);
  if (fs::is_directory(path)) return;
  if (fs::exists(path)) {
    throw ConfigError("output_dir " + printable(path.string()) + " is a file; expected a folder");
  }
  throw file_error(path, "creating the folder", error.value());
}

/// -1 for a name that is not "checkpoint-<number>".
std::int64_t checkpoint_step(const std::string& name) {
  constexpr std::string_view kPrefix = "checkpoint-";
  constexpr std::size_t kMostDigits = 18;
  const std::string digits = name.starts_with(kPrefix) ? name.substr(kPrefix.size()) : "";
  const bool is_number = !digits.empty() && digits.size() <= kMostDigits &&
                         digits.find_first_not_of("0123456789") == std::string::npos;
  return is_number ? std::stoll(digits) : -1;
}

std::optional<std::string> newest_checkpoint(const fs::path& path) {
  std::int64_t newest = -1;
  for (const auto& entry : fs::directory_iterator{path}) {
    newest = std::max(newest, checkpoint_step(entry.path().filename().string()));
  }
  if (newest < 0) return std::nullopt;
  return "checkpoint-" + std::to_string(newest);
}

bool has_content(const fs::path& path) {
  std::error_code ignored;
  return fs::exists(path, ignored) && !fs::is_empty(path, ignored);
}

/// What in the folder a new run would mix with or overwrite.
std::optional<std::string> content_of(const fs::path& path) {
  if (auto checkpoint = newest_checkpoint(path)) return checkpoint;
  for (const char* name : {"samples", "metrics.jsonl", "model.safetensors",
                           "model.safetensors.index.json", "config.json"}) {
    if (has_content(path / name)) return name;
  }
  return std::nullopt;
}

void require_unused(const fs::path& path) {
  const auto content = content_of(path);
  if (!content) return;
  throw ConfigError(printable(path.string()) + " already holds " + *content +
                    ". Continue: --resume_from_checkpoint auto. New run: another --output_dir");
}

/// A sample on its way to rank 0: its place in the file and its line.
struct SampleLine {
  std::int64_t prompt_index;
  std::int64_t k;
  std::string text;
};

template <typename Number>
void put(std::string& bytes, Number number) {
  bytes.append(reinterpret_cast<const char*>(&number), sizeof number);
}

std::int64_t take_number(std::string_view& bytes) {
  std::int64_t number = 0;
  std::memcpy(&number, bytes.data(), sizeof number);
  bytes.remove_prefix(sizeof number);
  return number;
}

std::string packed(std::span<const SampleRecord> records) {
  std::string bytes;
  for (const auto& record : records) {
    const std::string line = to_json_line(record);
    put(bytes, record.prompt_index);
    put(bytes, record.k);
    put(bytes, static_cast<std::int64_t>(line.size()));
    bytes += line;
  }
  return bytes;
}

void unpack(std::string_view bytes, std::vector<SampleLine>& into) {
  while (!bytes.empty()) {
    SampleLine line{take_number(bytes), take_number(bytes), {}};
    const auto size = static_cast<std::size_t>(take_number(bytes));
    line.text = bytes.substr(0, size);
    bytes.remove_prefix(size);
    into.push_back(std::move(line));
  }
}

std::string joined(const std::vector<std::string>& packed_of_ranks) {
  std::vector<SampleLine> lines;
  for (const auto& bytes : packed_of_ranks) unpack(bytes, lines);
  std::sort(lines.begin(), lines.end(), [](const SampleLine& a, const SampleLine& b) {
    return std::tie(a.prompt_index, a.k) < std::tie(b.prompt_index, b.k);
  });
  std::string text;
  for (const auto& line : lines) text += line.text + "\n";
  return text;
}

std::vector<SampleRecord> parse_records(std::string_view text, const fs::path& file) {
  std::vector<SampleRecord> records;
  while (!text.empty()) {
    const auto end = text.find('\n');
    const std::string where = printable(file.string()) + ":" + std::to_string(records.size() + 1);
    records.push_back(parse_sample_record({std::string{text.substr(0, end)}, where}));
    text.remove_prefix(end == std::string_view::npos ? text.size() : end + 1);
  }
  return records;
}

}  // namespace

template <typename Function>
void RunDirectory::on_rank_zero(Function&& function) {
  run_agreed(comm_, [&] {
    try {
      if (comm_.rank() == 0) function();
    } catch (const fs::filesystem_error& error) {
      throw file_error(path_, "looking at the folder", error.code().value());
    }
  });
}

RunDirectory::RunDirectory(Communicator& comm, fs::path path, bool resuming, Logger& logger)
    : comm_(comm), path_(std::move(path)), metrics_(path_ / "metrics.jsonl", logger) {
  on_rank_zero([&] {
    create(path_);
    lock_.emplace(path_, logger);
    if (!resuming) require_unused(path_);
    create(path_ / "samples");
  });
}

fs::path RunDirectory::samples_file(std::int64_t round) const {
  std::array<char, 32> name{};
  std::snprintf(name.data(), name.size(), "round-%04lld.jsonl", static_cast<long long>(round));
  return path_ / "samples" / name.data();
}

void RunDirectory::write_config(std::string_view yaml) {
  on_rank_zero([&] { write_durably(path_ / "config.yaml", yaml); });
}

void RunDirectory::write_samples(std::int64_t round, std::span<const SampleRecord> mine) {
  const auto of_all_ranks = all_gather_strings(comm_, packed(mine));
  on_rank_zero([&] { write_durably(samples_file(round), joined(of_all_ranks)); });
}

std::optional<std::vector<SampleRecord>> RunDirectory::read_samples(std::int64_t round) {
  const fs::path file = samples_file(round);
  std::string text;  // empty: no file; else 'F' and its lines
  on_rank_zero([&] {
    if (!fs::exists(file)) return;
    LineReader reader{file};
    text = "F";
    while (const auto line = reader.next()) {
      parse_sample_record(*line);  // here the file's own line numbers are known
      text += line->text + "\n";
    }
  });
  text = broadcast_string(comm_, text);
  if (text.empty()) return std::nullopt;
  return parse_records(std::string_view{text}.substr(1), file);
}

void RunDirectory::append_metrics(std::string_view json_object) noexcept {
  if (comm_.rank() == 0) metrics_.append(json_object);
}

void RunDirectory::discard_metrics_after(std::int64_t step, std::int64_t round) {
  on_rank_zero([&] { metrics_.discard_after(step, round); });
}

}  // namespace hone::launcher
