#pragma once

#include <hdf5.h>

#include <array>
#include <cstddef>
#include <cstdint>
#include <map>
#include <span>

namespace hone::checkpoints::detail {

/// What HDF5 wrote to a file that exists in memory only; bytes never written are zero and cost
/// nothing, so that the room for gigabytes of tensors can be laid out.
class SparseImage {
 public:
  void write(std::uint64_t address, std::span<const std::byte> bytes);
  void read(std::uint64_t address, std::span<std::byte> bytes) const;

  /// Units: bytes. The length that the file has once HDF5 closed it.
  std::uint64_t size = 0;
  /// Set where memory ran out inside HDF5: HDF5 is told that all went well, because a close that
  /// fails leaves it in a state that crashes the process at exit (1.10.8, tried).
  bool out_of_memory = false;

 private:
  static constexpr std::size_t kPageBytes = 4096;
  std::map<std::uint64_t, std::array<std::byte, kPageBytes>> pages_;
};

/// Registers an HDF5 file driver whose files are SparseImages.
/// Ownership: the caller closes the id with H5FDunregister.
hid_t register_memory_driver();

/// Makes files created with `file_access` live in `image`, which must outlive them.
herr_t use_memory_driver(hid_t file_access, hid_t driver, SparseImage& image);

}  // namespace hone::checkpoints::detail
