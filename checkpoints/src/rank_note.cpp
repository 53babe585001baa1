#include "rank_note.hpp"

#include <algorithm>
#include <nlohmann/json.hpp>
#include <string>

#include "file_io.hpp"
#include "hone/core/error.hpp"

namespace hone::checkpoints::detail {
namespace {

std::filesystem::path note_of(const std::filesystem::path& folder, int rank, int num_ranks) {
  return (folder / rank_file_name(rank, num_ranks)).replace_extension(".note");
}

std::string encode(const RankContribution& contribution) {
  auto tensors = nlohmann::json::array();
  for (const auto& tensor : contribution.tensors) {
    tensors.push_back({tensor.name, static_cast<int>(tensor.dtype), tensor.shape, tensor.offset,
                       tensor.bytes, tensor.digest, tensor.first});
  }
  const auto& file = contribution.file;
  return nlohmann::json{file.file, file.bytes, file.layout_digest, tensors}.dump();
}

RankContribution decode(const std::string& text) {
  const auto json = nlohmann::json::parse(text);
  RankContribution contribution{{json.at(0), json.at(1), json.at(2)}, {}};
  for (const auto& tensor : json.at(3)) {
    contribution.tensors.push_back({tensor.at(0), static_cast<DType>(tensor.at(1).get<int>()),
                                    tensor.at(2), contribution.file.file, tensor.at(3),
                                    tensor.at(4), tensor.at(5), tensor.at(6)});
  }
  return contribution;
}

/// By the folder's list: a network file system may remember for a minute that a name is not there,
/// and a folder that somebody has removed is an error.
bool is_there(FileOps& files, const std::filesystem::path& path) {
  const auto name = path.filename().string();
  return std::ranges::any_of(list_directory(files, path.parent_path()),
                             [&](const DirectoryEntry& entry) { return entry.name == name; });
}

}  // namespace

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
    return decode(text);
  } catch (const nlohmann::json::exception& error) {
    throw CheckpointError{note.string() + " is no note of a rank: " + error.what()};
  }
}

}  // namespace hone::checkpoints::detail
