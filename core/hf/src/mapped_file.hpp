#pragma once

#include <cstddef>
#include <filesystem>
#include <span>

namespace hone::detail {

/// A whole file mapped read-only. Move-only; the mapping ends with the object.
/// Throws: InputError where the file cannot be opened or mapped.
class MappedFile {
 public:
  explicit MappedFile(const std::filesystem::path& file);
  ~MappedFile();
  MappedFile(MappedFile&& other) noexcept;
  MappedFile& operator=(MappedFile&& other) noexcept;

  std::span<const std::byte> bytes() const { return bytes_; }

 private:
  std::span<const std::byte> bytes_;
};

}  // namespace hone::detail
