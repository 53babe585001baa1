#include "hone/launcher/loop/run_directory.hpp"

#include <algorithm>
#include <array>
#include <cstdio>
#include <cstring>
#include <fstream>
#include <initializer_list>
#include <string>
#include <tuple>
#include <utility>
#include <vector>

#include "hone/checkpoints/inspect.hpp"
#include "hone/core/files/published_file.hpp"
#include "hone/core/error.hpp"
#include "hone/core/printable.hpp"
#include "sha256.hpp"

namespace hone::launcher {
namespace {

namespace fs = std::filesystem;

void create(const fs::path& path) {
  std::error_code error;
  std::vector<fs::path> made;
  for (auto at = path; !at.empty() && !fs::exists(at, error); at = at.parent_path()) made.push_back(at);
  fs::create_directories(path, error);
  if (fs::is_directory(path)) {
    for (const auto& each : made) sync_folder(each.has_parent_path() ? each.parent_path() : ".");
    return;
  }
  if (fs::exists(path)) {
    throw ConfigError("output_dir " + printable(path.string()) + " is a file; expected a folder");
  }
  throw file_error(path, "creating the folder", error.value());
}

std::string checkpoint_name(std::int64_t step) { return "checkpoint-" + std::to_string(step); }

bool has_content(const fs::path& path) {
  std::error_code ignored;
  return fs::exists(path, ignored) && !fs::is_empty(path, ignored);
}

std::optional<std::string> first_with_content(const fs::path& path,
                                              std::initializer_list<const char*> names) {
  for (const char* name : names) {
    if (has_content(path / name)) return name;
  }
  return std::nullopt;
}

std::optional<std::string> model_in(const fs::path& path) {
  return first_with_content(path, {"model.safetensors", "model.safetensors.index.json", "config.json"});
}

/// What in the folder a new run would mix with or overwrite.
std::optional<std::string> content_of(const fs::path& path) {
  if (const auto step = checkpoints::newest_step(path)) return checkpoint_name(*step);
  const auto records = first_with_content(path, {"samples", RunDirectory::kMetricsFile});
  return records ? records : model_in(path);
}

void require_unused(const fs::path& path) {
  const auto content = content_of(path);
  if (!content) return;
  throw ConfigError(printable(path.string()) + " already holds " + *content +
                    ". Continue: --resume_from_checkpoint auto. New run: another --output_dir");
}

void require_something_to_go_on_from(const fs::path& path) {
  const auto model = model_in(path);
  if (!model || checkpoints::newest_step(path)) return;
  throw ConfigError(printable(path.string()) + " holds a model (" + *model +
                    ") but no checkpoint to go on from: starting would write over it. New run: "
                    "another --output_dir, or move that model away");
}

/// `checkpoint`: a folder in `path`.
void require_newest(const fs::path& path, const std::string& checkpoint) {
  const auto newest = checkpoints::newest_step(path);
  if (!newest || checkpoint_name(*newest) == checkpoint) return;
  throw ConfigError(printable(path.string()) + " holds " + checkpoint_name(*newest) +
                    ", which is newer than " + printable(checkpoint) +
                    " and would be mixed with the new branch of the run. Continue: "
                    "--resume_from_checkpoint auto. Branch off: the same with another --output_dir, or "
                    "move the newer checkpoints away");
}

/// The checkpoint that --resume_from_checkpoint names; none for auto, true and false.
std::optional<fs::path> named_checkpoint(const std::string& resume_from_checkpoint) {
  if (resume_from_checkpoint == "false" || resume_from_checkpoint == "auto" ||
      resume_from_checkpoint == "true") {
    return std::nullopt;
  }
  const auto checkpoint = fs::weakly_canonical(resume_from_checkpoint);
  return checkpoint.filename().empty() ? checkpoint.parent_path() : checkpoint;  // "checkpoint-3/"
}

/// Before anything is written: may a run begin here?
void require_usable(const fs::path& path, const std::string& resume_from_checkpoint) {
  if (const auto checkpoint = named_checkpoint(resume_from_checkpoint)) {
    if (!fs::is_directory(*checkpoint)) {
      throw MissingInputError("resume_from_checkpoint: there is no folder " +
                              printable(checkpoint->string(), 1000) +
                              ". Give auto, true, false, or a run's checkpoint-N");
    }
    if (checkpoint->parent_path() != fs::weakly_canonical(path)) return require_unused(path);
    return require_newest(path, checkpoint->filename().string());
  }
  if (resume_from_checkpoint == "false") return require_unused(path);
  require_something_to_go_on_from(path);
}

fs::path samples_of_round(const fs::path& run, std::int64_t round) {
  std::array<char, 32> name{};
  std::snprintf(name.data(), name.size(), "round-%04lld.jsonl", static_cast<long long>(round));
  return run / "samples" / name.data();
}

std::string whole_text(const fs::path& file) {
  std::ifstream stream{file, std::ios::binary};
  return {std::istreambuf_iterator<char>{stream}, {}};
}

/// In a folder that is made for the first file in it.
void write_new(const fs::path& file, std::string_view text) {
  create(file.parent_path());
  write_durably(file, text);
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

RunDirectory::RunDirectory(Communicator& comm, fs::path path,
                           const std::string& resume_from_checkpoint, Logger& logger)
    : comm_(comm),
      path_(std::move(path)),
      origin_(path_),
      metrics_(path_ / kMetricsFile, logger) {
  on_rank_zero([&] {
    create(path_);
    if (const auto checkpoint = named_checkpoint(resume_from_checkpoint)) {
      origin_ = checkpoint->parent_path();
    }
    lock_.emplace(path_, logger);
    require_usable(path_, resume_from_checkpoint);
  });
}

fs::path RunDirectory::samples_file(std::int64_t round) const {
  return samples_of_round(path_, round);
}

std::string RunDirectory::read_config() {
  std::string text;
  on_rank_zero([&] { text = whole_text(origin_ / "config.yaml"); });
  return broadcast_string(comm_, text);
}

void RunDirectory::write_config(std::string_view yaml) {
  on_rank_zero([&] { write_durably(path_ / "config.yaml", yaml); });
}

std::string RunDirectory::write_samples(std::int64_t round, std::span<const SampleRecord> mine) {
  const auto of_all_ranks = all_gather_strings(comm_, packed(mine));
  std::string digest;
  on_rank_zero([&] {
    const auto text = joined(of_all_ranks);
    digest = sha256_of(text);
    write_new(samples_file(round), text);
  });
  return broadcast_string(comm_, digest);
}

std::optional<std::vector<SampleRecord>> RunDirectory::read_samples(std::int64_t round,
                                                                    const std::string& digest) {
  const fs::path file = samples_file(round);
  std::string text;  // empty: no file; else 'F' and its lines
  on_rank_zero([&] {
    const auto original = samples_of_round(origin_, round);
    if (!fs::exists(file) && fs::exists(original)) write_new(file, whole_text(original));
    if (!fs::exists(file)) return;
    LineReader reader{file};
    text = "F";
    while (const auto line = reader.next()) {
      parse_sample_record(*line);  // here the file's own line numbers are known
      text += line->text + "\n";
    }
    if (digest.empty() || sha256_of(std::string_view{text}.substr(1)) == digest) return;
    throw InputError{printable(file.string()) +
                     " is not as the run wrote it. Put that back, or resume from an earlier "
                     "checkpoint, between two rounds, with another --output_dir"};
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
