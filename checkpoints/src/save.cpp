#include "save.hpp"

#include <algorithm>
#include <iterator>
#include <nlohmann/json.hpp>
#include <set>
#include <string_view>
#include <system_error>
#include <utility>

#include "agreed.hpp"
#include "digest.hpp"
#include "file_io.hpp"
#include "hdf5_layout.hpp"
#include "placement.hpp"
#include "rank_file.hpp"

namespace hone::checkpoints::detail {
namespace {

[[noreturn]] void refuse(const std::string& reason) {
  throw CheckpointError{reason, ExitCode::Internal};
}

void require_valid(const TensorBytes& tensor) {
  if (!is_valid_tensor_name(tensor.name)) refuse("not a tensor name: \"" + tensor.name + '"');
  const auto whole = bytes_of(tensor.shape, tensor.dtype);
  const auto bytes = static_cast<std::int64_t>(tensor.bytes.size());
  const auto width = size_of(tensor.dtype);
  if (tensor.first >= 0 && bytes % width == 0 && tensor.first * width + bytes <= whole) return;
  refuse("tensor " + tensor.name + " has " + std::to_string(bytes) + " bytes from element " +
         std::to_string(tensor.first) + " on, its shape and dtype need " + std::to_string(whole));
}

void require_valid_content(const CheckpointContent& content) {
  if (content.step < 0) refuse("step " + std::to_string(content.step) + " is negative");
  if (!nlohmann::json::accept(content.state_json)) refuse("the state text is not JSON");
  std::set<std::pair<std::string_view, std::int64_t>> names;
  for (const auto& tensor : content.tensors) {
    require_valid(tensor);
    if (!names.insert({tensor.name, tensor.first}).second) {
      refuse("two tensors are called " + tensor.name);
    }
  }
}

/// What every rank has alike.
std::vector<TensorBytes> common_tensors(const CheckpointContent& content) {
  std::vector<TensorBytes> common;
  std::ranges::copy_if(content.tensors, std::back_inserter(common),
                       [](const TensorBytes& tensor) { return !tensor.is_dealt; });
  return common;
}

/// Equal on two ranks where their tables of common tensors and states are; says nothing about
/// bytes.
std::string fingerprint(const CheckpointContent& content) {
  nlohmann::json table = {content.step, content.state_json};
  for (const auto& tensor : common_tensors(content)) {
    table.push_back({tensor.name, name_of(tensor.dtype), tensor.shape});
  }
  return sha256_of(table.dump());
}

/// What this rank alone has, and of the common tensors about as many bytes as every other rank.
std::vector<TensorBytes> share_of(const CheckpointContent& content, int rank, int num_ranks) {
  const auto common = common_tensors(content);
  std::vector<std::int64_t> bytes;
  for (const auto& tensor : common) {
    bytes.push_back(static_cast<std::int64_t>(tensor.bytes.size()));
  }
  const auto owners = assign_by_bytes(bytes, num_ranks);
  std::vector<TensorBytes> share;
  for (std::size_t i = 0; i < owners.size(); ++i) {
    if (owners[i] == rank) share.push_back(common[i]);
  }
  std::ranges::copy_if(content.tensors, std::back_inserter(share), &TensorBytes::is_dealt);
  return share;
}

std::string encode(const RankContribution& mine) {
  auto tensors = nlohmann::json::array();
  for (const auto& tensor : mine.tensors) {
    tensors.push_back({tensor.name, static_cast<int>(tensor.dtype), tensor.shape, tensor.offset,
                       tensor.bytes, tensor.digest, tensor.first});
  }
  return nlohmann::json{mine.file.file, mine.file.bytes, mine.file.layout_digest, tensors}.dump();
}

/// Adds one rank's part to the manifest.
void append(Manifest& manifest, const std::string& encoded) {
  const auto json = nlohmann::json::parse(encoded);
  const std::string file = json.at(0);
  manifest.rank_files.push_back({file, json.at(1), json.at(2)});
  for (const auto& tensor : json.at(3)) {
    manifest.tensors.push_back({tensor.at(0), static_cast<DType>(tensor.at(1).get<int>()),
                                tensor.at(2), file, tensor.at(3), tensor.at(4), tensor.at(5),
                                tensor.at(6)});
  }
}

/// Lets the caller add its files. What its streams and copies throw becomes an error of ours.
void add_files(const CheckpointContent& content, const std::filesystem::path& folder) {
  if (!content.add_files) return;
  try {
    content.add_files(folder);
  } catch (const std::system_error& error) {
    throw file_error(std::string{"add files ("} + error.what() + ") to", folder,
                     error.code().value());
  }
}

OtherFileEntry sync_and_digest(FileOps& files, const std::filesystem::path& folder,
                               const std::string& name) {
  File file = File::open(files, folder / name);
  file.sync();
  OtherFileEntry entry{name, file.size(), {}};
  Digest digest;
  std::vector<std::byte> buffer(kChunkBytes);
  for (std::int64_t offset = 0; offset < entry.bytes;) {
    const auto count = std::min<std::int64_t>(entry.bytes - offset, kChunkBytes);
    const auto chunk = std::span{buffer}.first(static_cast<std::size_t>(count));
    file.read_at(chunk, offset);
    digest.update(chunk);
    offset += count;
  }
  entry.digest = digest.finish();
  file.close();
  return entry;
}

/// Syncs all files below folder/`below` that hone did not write itself, and lists them.
void collect_other_files(FileOps& files, const std::filesystem::path& folder,
                         const std::filesystem::path& below, const std::set<std::string>& own,
                         std::vector<OtherFileEntry>& entries) {
  for (const auto& entry : list_directory(files, folder / below)) {
    const auto name = (below / entry.name).string();
    if (own.contains(name)) continue;
    if (entry.kind == EntryKind::Directory) {
      collect_other_files(files, folder, name, own, entries);
    } else if (entry.kind == EntryKind::File) {
      entries.push_back(sync_and_digest(files, folder, name));
    } else {
      refuse((folder / name).string() + " is neither a file nor a folder: a checkpoint must not "
             "depend on what is outside of it");
    }
  }
  if (!below.empty()) sync_directory(files, folder / below);
}

}  // namespace

void require_agreed_content(Communicator& communicator, const CheckpointContent& content) {
  std::string mine;
  agreed(communicator, [&] {
    require_valid_content(content);
    mine = fingerprint(content);
  });
  const auto all = all_gather_strings(communicator, mine);
  for (std::size_t rank = 1; rank < all.size(); ++rank) {
    if (all[rank] != all[0]) {
      refuse("rank " + std::to_string(rank) +
             " has other tensor names, shapes, state or step than rank 0: the ranks are out of "
             "step");
    }
  }
}

Manifest write_rank_files(Communicator& communicator, FileOps& files,
                          const std::filesystem::path& folder, const CheckpointContent& content) {
  const int rank = communicator.rank();
  const int size = communicator.size();
  std::string mine;
  agreed(communicator, [&] {
    const auto share = share_of(content, rank, size);
    mine = encode(write_rank_file(files, folder, rank_file_name(rank, size), share));
  });
  Manifest manifest;
  manifest.hone_version = HONE_VERSION;
  manifest.step = content.step;
  manifest.world_size = size;
  manifest.state_json = content.state_json;
  for (const auto& theirs : all_gather_strings(communicator, mine)) append(manifest, theirs);
  require_whole_tensors(manifest);  // the same on all ranks
  return manifest;
}

void seal(Communicator& communicator, FileOps& files, const std::filesystem::path& folder,
          const CheckpointContent& content, Manifest manifest) {
  agreed(communicator, [&] {
    if (communicator.rank() != 0) return;
    add_files(content, folder);
    std::set<std::string> own;
    for (const auto& entry : manifest.rank_files) own.insert(entry.file);
    collect_other_files(files, folder, {}, own, manifest.other_files);
    write_new_file(files, folder / kManifestName, write_manifest(manifest));
    sync_directory(files, folder);
  });
}

}  // namespace hone::checkpoints::detail
