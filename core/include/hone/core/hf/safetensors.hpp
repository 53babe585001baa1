#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "hone/core/dtype.hpp"

namespace hone {

/// A named tensor, row-major and contiguous.
/// Ownership: the bytes belong to whoever made the entry.
struct SafetensorsEntry {
  std::string name;
  DType dtype = DType::Float32;
  std::vector<std::int64_t> shape;  ///< empty for a scalar
  /// Little-endian. Read from a file they need not be aligned to the element size.
  std::span<const std::byte> bytes;
};

/// A tensor of a file whose element type hone has no use for, such as a mask of type BOOL.
struct UnsupportedTensor {
  std::string name;
  std::string dtype;  ///< as in the file: "BOOL", "I32", "F8_E4M3" ...
};

/// The weights of a Hugging Face folder, mapped read-only: `model.safetensors`, or the shards that
/// `model.safetensors.index.json` names. Nothing is copied, pages are read when they are touched.
///
/// The layout of every file is checked when it is opened: header, types, shapes, overlaps, holes,
/// truncation. Tensors of unsupported types do not keep a folder from opening (old GPT-2 files hold
/// masks that no model needs); asking for one is an error.
///
/// Ownership: spans are valid as long as this object or one moved from it.
/// Thread-safety: const methods may run concurrently.
/// A file that is truncated in place while it is mapped ends the process (SIGBUS);
/// write_safetensors replaces files by rename, which is safe.
class SafetensorsFolder {
 public:
  /// Throws: MissingInputError where the folder, the weights or a shard are missing; InputError
  /// naming file and reason where one is malformed or index and shards disagree.
  explicit SafetensorsFolder(const std::filesystem::path& folder);
  ~SafetensorsFolder();
  SafetensorsFolder(SafetensorsFolder&&) noexcept;
  SafetensorsFolder& operator=(SafetensorsFolder&&) noexcept;

  /// In name order; tensors of unsupported types left out.
  std::span<const SafetensorsEntry> entries() const;
  /// In name order.
  std::span<const UnsupportedTensor> unsupported() const;

  bool contains(std::string_view name) const;
  /// Throws: InputError naming the tensor where there is none, or its type is not supported.
  const SafetensorsEntry& at(std::string_view name) const;

 private:
  struct State;
  std::unique_ptr<State> state_;
};

/// The largest shard that write_safetensors makes unless told otherwise. Units: bytes.
inline constexpr std::int64_t kMaxShardBytes = 5'000'000'000;

/// Writes `tensors` as model.safetensors, or as model-00001-of-0000N.safetensors and
/// model.safetensors.index.json where they take more than `max_shard_bytes`. Weight files of an
/// earlier export that the new ones replace are removed.
///
/// Tensors are cut into shards in the given order, a single one may exceed the limit. Every file is
/// written aside, synced and renamed; a folder that another program reads meanwhile should be new,
/// since several files are not replaced at once. Memory: no tensor is copied.
///
/// Source: transformers' `save_pretrained` (names, index, metadata {"format": "pt"}).
/// Throws: InputError naming the tensor where two share a name or one's bytes do not fit its shape;
/// Error (RunHeld) where the disk is full and Error (Io) for other failures: new files are then
/// incomplete, earlier ones are kept where nothing was renamed yet.
void write_safetensors(const std::filesystem::path& folder,
                       std::span<const SafetensorsEntry> tensors,
                       std::int64_t max_shard_bytes = kMaxShardBytes);

}  // namespace hone
