#include "rank_note.hpp"

#include <algorithm>
#include <cstdint>
#include <nlohmann/json.hpp>
#include <string>
#include <utility>
#include <vector>

#include "file_io.hpp"
#include "hone/core/data/detail/json_line.hpp"
#include "hone/core/error.hpp"

namespace hone::checkpoints::detail {
namespace {

/// One rank of several thousand has many tensors, and wrote them.
constexpr hone::LineLimits kAsLongAsItIs{.max_values = SIZE_MAX, .max_members = SIZE_MAX};

std::filesystem::path note_of(const std::filesystem::path& folder, int rank, int num_ranks) {
  return (folder / rank_file_name(rank, num_ranks)).replace_extension(".note");
}

std::string encode(const RankContribution& contribution) {
  auto tensors = nlohmann::json::array();
  for (const auto& tensor : contribution.tensors) {
    tensors.push_back({tensor.name, name_of(tensor.dtype), tensor.shape, tensor.offset,
                       tensor.bytes, tensor.digest, tensor.first});
  }
  const auto& file = contribution.file;
  return nlohmann::json{file.file, file.bytes, file.layout_digest, tensors}.dump();
}

/// By the folder's list: a network file system may remember for a minute that a name is not there,
/// and a folder that somebody has removed is an error.
bool is_there(FileOps& files, const std::filesystem::path& path) {
  const auto name = path.filename().string();
  return std::ranges::any_of(list_directory(files, path.parent_path()),
                             [&](const DirectoryEntry& entry) { return entry.name == name; });
}

}  // namespace

RankContribution parse_note(const std::string& text, const std::string& file) {
  const auto refuse_unless = [](bool fits) {
    if (!fits) throw InputError{"it is not of a note's form"};
  };
  const auto integer = [&](const nlohmann::json& value) {
    refuse_unless(hone::detail::is_int64(value) && value.get<std::int64_t>() >= 0);
    return value.get<std::int64_t>();
  };
  try {
    const auto json = hone::detail::parse_json(text, "note", kAsLongAsItIs);
    refuse_unless(json.is_array() && json.at(0) == file);
    RankContribution contribution{{file, integer(json.at(1)), json.at(2)}, {}};
    for (const auto& tensor : json.at(3)) {
      const auto dtype = dtype_named(tensor.at(1).get_ref<const std::string&>());
      refuse_unless(dtype.has_value());
      std::vector<std::int64_t> shape;
      for (const auto& size : tensor.at(2)) shape.push_back(integer(size));
      contribution.tensors.push_back({tensor.at(0), *dtype, std::move(shape), file,
                                      integer(tensor.at(3)), integer(tensor.at(4)), tensor.at(5),
                                      integer(tensor.at(6))});
    }
    return contribution;
  } catch (const nlohmann::json::exception& error) {
    throw InputError{hone::detail::reason_of(error)};
  }
}

void leave_note(FileOps& files, const std::filesystem::path& folder, int rank, int num_ranks,
                const RankContribution& contribution) {
  const auto note = note_of(folder, rank, num_ranks);
  auto half = note;
  half += ".part";
  write_new_file(files, half, encode(contribution));
  rename(files, half, note);
}

std::optional<RankContribution> take_note(FileOps& files, const std::filesystem::path& folder,
                                          int rank, int num_ranks) {
  const auto note = note_of(folder, rank, num_ranks);
  if (!is_there(files, note)) return std::nullopt;
  const auto text = read_text_file(files, note, kMaxManifestBytes);
  if (const int result = files.unlink(note); result < 0) throw file_error("remove", note, -result);
  try {
    return parse_note(text, rank_file_name(rank, num_ranks));
  } catch (const InputError& error) {
    throw CheckpointError{note.string() + " is no note of a rank: " + error.what()};
  }
}

}  // namespace hone::checkpoints::detail
