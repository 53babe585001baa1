#include "hdf5_memory_driver.hpp"

#if H5_VERSION_GE(1, 13, 0)
#include <H5FDdevelop.h>  // the driver interface moved out of hdf5.h
#endif

#include <algorithm>
#include <cstring>
#include <iterator>
#include <new>
#include <type_traits>

namespace hone::checkpoints::detail {
namespace {

/// One open file; HDF5 knows it by its first member.
struct MemoryFile {
  H5FD_t base;
  SparseImage* image;
  haddr_t end_of_allocation;
  haddr_t end_of_file;
};
static_assert(std::is_standard_layout_v<MemoryFile>);

/// What travels in the file access list.
struct DriverInfo {
  SparseImage* image;
};

MemoryFile& self(H5FD_t* file) { return *reinterpret_cast<MemoryFile*>(file); }
const MemoryFile& self(const H5FD_t* file) { return *reinterpret_cast<const MemoryFile*>(file); }

H5FD_t* open_image(const char*, unsigned, hid_t file_access, haddr_t) {
  const auto* info = static_cast<const DriverInfo*>(H5Pget_driver_info(file_access));
  if (info == nullptr) return nullptr;
  auto* file = new (std::nothrow) MemoryFile{};
  if (file == nullptr) return nullptr;
  file->image = info->image;
  return &file->base;
}

herr_t close_image(H5FD_t* file) {
  self(file).image->size = std::max(self(file).end_of_allocation, self(file).end_of_file);
  delete &self(file);
  return 0;
}

herr_t query_image(const H5FD_t*, unsigned long* flags) {
  if (flags != nullptr) *flags = H5FD_FEAT_AGGREGATE_METADATA | H5FD_FEAT_AGGREGATE_SMALLDATA;
  return 0;
}

haddr_t get_end_of_allocation(const H5FD_t* file, H5FD_mem_t) {
  return self(file).end_of_allocation;
}

herr_t set_end_of_allocation(H5FD_t* file, H5FD_mem_t, haddr_t address) {
  self(file).end_of_allocation = address;
  return 0;
}

haddr_t get_end_of_file(const H5FD_t* file, H5FD_mem_t) { return self(file).end_of_file; }

herr_t read_image(H5FD_t* file, H5FD_mem_t, hid_t, haddr_t address, size_t size, void* buffer) {
  self(file).image->read(address, {static_cast<std::byte*>(buffer), size});
  return 0;
}

herr_t write_image(H5FD_t* file, H5FD_mem_t, hid_t, haddr_t address, size_t size,
                   const void* buffer) {
  try {
    self(file).image->write(address, {static_cast<const std::byte*>(buffer), size});
  } catch (const std::bad_alloc&) {  // no exception may cross HDF5's C frames
    self(file).image->out_of_memory = true;
  }
  self(file).end_of_file = std::max(self(file).end_of_file, address + size);
  return 0;
}

/// Calls visit(page, offset in page, bytes) for the pages that an address range touches.
template <typename Visit>
void for_pages(std::uint64_t address, std::size_t size, std::size_t page_bytes, Visit visit) {
  std::size_t done = 0;
  while (done < size) {
    const auto offset = static_cast<std::size_t>((address + done) % page_bytes);
    const auto count = std::min(size - done, page_bytes - offset);
    visit((address + done) / page_bytes, offset, done, count);
    done += count;
  }
}

}  // namespace

void SparseImage::write(std::uint64_t address, std::span<const std::byte> bytes) {
  for_pages(address, bytes.size(), kPageBytes, [&](auto page, auto offset, auto done, auto count) {
    std::memcpy(pages_[page].data() + offset, bytes.data() + done, count);
  });
}

void SparseImage::read(std::uint64_t address, std::span<std::byte> bytes) const {
  for_pages(address, bytes.size(), kPageBytes, [&](auto page, auto offset, auto done, auto count) {
    const auto found = pages_.find(page);
    if (found == pages_.end()) {
      std::memset(bytes.data() + done, 0, count);
    } else {
      std::memcpy(bytes.data() + done, found->second.data() + offset, count);
    }
  });
}

hid_t register_memory_driver() {
  H5FD_class_t driver{};
#if H5_VERSION_GE(1, 13, 2)
  driver.version = H5FD_CLASS_VERSION;
  driver.value = static_cast<H5FD_class_value_t>(H5_VFD_RESERVED + 1);
#endif
  driver.name = "hone_memory";
  driver.maxaddr = HADDR_MAX >> 1;
  driver.fc_degree = H5F_CLOSE_WEAK;
  driver.fapl_size = sizeof(DriverInfo);
  driver.open = open_image;
  driver.close = close_image;
  driver.query = query_image;
  driver.get_eoa = get_end_of_allocation;
  driver.set_eoa = set_end_of_allocation;
  driver.get_eof = get_end_of_file;
  driver.read = read_image;
  driver.write = write_image;
  const H5FD_mem_t kinds[] = H5FD_FLMAP_DICHOTOMY;
  std::copy(std::begin(kinds), std::end(kinds), driver.fl_map);
  return H5FDregister(&driver);
}

herr_t use_memory_driver(hid_t file_access, hid_t driver, SparseImage& image) {
  const DriverInfo info{&image};
  return H5Pset_driver(file_access, driver, &info);
}

}  // namespace hone::checkpoints::detail
