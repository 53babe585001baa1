#include "hdf5_layout.hpp"

#include <hdf5.h>

#include <algorithm>
#include <bit>
#include <set>
#include <string>
#include <utility>

#include "handle.hpp"
#include "hdf5_memory_driver.hpp"
#include "hone/core/error.hpp"
#include "manifest.hpp"

namespace hone::checkpoints::detail {
namespace {

static_assert(std::endian::native == std::endian::little,
              "checkpoints hold the machine's own bytes, and those are little-endian");

constexpr std::size_t kMaxNameCharacters = 256;
constexpr const char* kTensorFolder = "tensors/";

/// Keeps HDF5 from printing while it lives; errors are read from its stack instead.
class QuietHdf5 {
 public:
  QuietHdf5() {
    H5Eget_auto2(H5E_DEFAULT, &print_, &context_);
    H5Eset_auto2(H5E_DEFAULT, nullptr, nullptr);
  }
  QuietHdf5(const QuietHdf5&) = delete;
  QuietHdf5& operator=(const QuietHdf5&) = delete;
  ~QuietHdf5() { H5Eset_auto2(H5E_DEFAULT, print_, context_); }

 private:
  H5E_auto2_t print_ = nullptr;
  void* context_ = nullptr;
};

/// HDF5's error stack as one line, outermost call first.
std::string hdf5_explanation() {
  std::string text;
  const auto append = [](unsigned, const H5E_error2_t* error, void* context) -> herr_t {
    auto& out = *static_cast<std::string*>(context);
    if (!out.empty()) out += "; ";
    out += std::string{error->func_name} + ": " + error->desc;
    return 0;
  };
  H5Ewalk2(H5E_DEFAULT, H5E_WALK_DOWNWARD, append, &text);
  return text;
}

template <typename Result>
Result checked(Result result, const std::string& what) {
  if (result < 0) {
    throw CheckpointError{"HDF5 cannot " + what + ": " + hdf5_explanation(), ExitCode::Internal};
  }
  return result;
}

struct ReleaseId {
  herr_t (*close_id)(hid_t);
  void operator()(hid_t id) const { checked(close_id(id), "close an object"); }
};
using Id = Handle<hid_t, ReleaseId>;

Id make_id(hid_t id, herr_t (*close_id)(hid_t), const std::string& what) {
  return Id{checked(id, what), ReleaseId{close_id}};
}

Id copy_type(hid_t type) { return make_id(H5Tcopy(type), H5Tclose, "copy a type"); }

/// IEEE half precision, which HDF5 1.10 can describe but does not name.
Id half_type() {
  Id type = copy_type(H5T_IEEE_F32LE);
  checked(H5Tset_fields(type.get(), 15, 10, 5, 0, 10), "describe float16");
  checked(H5Tset_size(type.get(), 2), "describe float16");
  checked(H5Tset_ebias(type.get(), 15), "describe float16");
  return type;
}

Id type_of(DType dtype) {
  switch (dtype) {
    case DType::UInt8: return copy_type(H5T_STD_U8LE);
    case DType::Int64: return copy_type(H5T_STD_I64LE);
    case DType::Float32: return copy_type(H5T_IEEE_F32LE);
    case DType::Float64: return copy_type(H5T_IEEE_F64LE);
    case DType::BFloat16: return copy_type(H5T_STD_U16LE);  // its bits: HDF5 has no such type
    case DType::Float16: return half_type();
  }
  throw CheckpointError{"unknown element type", ExitCode::Internal};
}

Id space_of(const std::vector<std::int64_t>& shape) {
  if (shape.empty()) return make_id(H5Screate(H5S_SCALAR), H5Sclose, "create a scalar");
  const std::vector<hsize_t> sizes(shape.begin(), shape.end());
  return make_id(H5Screate_simple(static_cast<int>(sizes.size()), sizes.data(), nullptr), H5Sclose,
                 "create a shape");
}

void write_dtype(hid_t data_set, std::string_view text) {
  Id type = copy_type(H5T_C_S1);
  checked(H5Tset_size(type.get(), text.size()), "size a string");
  checked(H5Tset_strpad(type.get(), H5T_STR_NULLPAD), "pad a string");
  Id space = make_id(H5Screate(H5S_SCALAR), H5Sclose, "create a scalar");
  Id attribute = make_id(
      H5Acreate2(data_set, "dtype", type.get(), space.get(), H5P_DEFAULT, H5P_DEFAULT), H5Aclose,
      "create an attribute");
  checked(H5Awrite(attribute.get(), type.get(), text.data()), "write an attribute");
  attribute.close();
}

/// Times would make equal checkpoints differ.
Id timeless(hid_t property_class) {
  Id list = make_id(H5Pcreate(property_class), H5Pclose, "create a property list");
  checked(H5Pset_obj_track_times(list.get(), false), "set a property");
  return list;
}

/// Early allocation fixes the address of the raw data at creation; "never fill" leaves it
/// unwritten.
Id data_set_properties() {
  Id list = timeless(H5P_DATASET_CREATE);
  checked(H5Pset_layout(list.get(), H5D_CONTIGUOUS), "set a property");
  checked(H5Pset_alloc_time(list.get(), H5D_ALLOC_TIME_EARLY), "set a property");
  checked(H5Pset_fill_time(list.get(), H5D_FILL_TIME_NEVER), "set a property");
  return list;
}

Id file_access(hid_t driver, SparseImage& image) {
  Id list = make_id(H5Pcreate(H5P_FILE_ACCESS), H5Pclose, "create a property list");
  // The newest format that 1.10 reads: its metadata carries checksums.
  checked(H5Pset_libver_bounds(list.get(), H5F_LIBVER_V110, H5F_LIBVER_V110), "set a property");
  checked(use_memory_driver(list.get(), driver, image), "set a property");
  return list;
}

/// Creates the groups of "a/b/c", that is a and a/b, where `made` does not have them yet.
void create_groups(hid_t parent, const std::string& name, std::set<std::string>& made) {
  const Id properties = timeless(H5P_GROUP_CREATE);
  for (auto end = name.find('/'); end != std::string::npos; end = name.find('/', end + 1)) {
    const std::string group = name.substr(0, end);
    if (!made.insert(group).second) continue;
    make_id(H5Gcreate2(parent, group.c_str(), H5P_DEFAULT, properties.get(), H5P_DEFAULT), H5Gclose,
            "create the group " + group)
        .close();
  }
}

Range create_data_set(hid_t file, const std::string& path, const DataSet& wanted,
                      hid_t properties) {
  Id type = type_of(wanted.dtype);
  Id space = space_of(wanted.shape);
  Id data_set = make_id(H5Dcreate2(file, path.c_str(), type.get(), space.get(), H5P_DEFAULT,
                                   properties, H5P_DEFAULT),
                        H5Dclose, "create the data set " + path);
  write_dtype(data_set.get(), name_of(wanted.dtype));
  Range range{0, wanted.bytes};
  if (range.bytes > 0) {
    const haddr_t offset = H5Dget_offset(data_set.get());
    if (offset == HADDR_UNDEF) checked(-1, "allocate the data set " + path);
    range.offset = static_cast<std::int64_t>(offset);
  }
  data_set.close();
  return range;
}

std::vector<Range> create_file(std::span<const DataSet> data_sets, SparseImage& image) {
  Id driver = make_id(register_memory_driver(), H5FDunregister, "register a file driver");
  Id access = file_access(driver.get(), image);
  Id creation = timeless(H5P_FILE_CREATE);
  Id file = make_id(H5Fcreate("layout", H5F_ACC_TRUNC, creation.get(), access.get()), H5Fclose,
                    "create a file");
  Id properties = data_set_properties();
  std::set<std::string> groups;
  create_groups(file.get(), kTensorFolder, groups);  // exists also where there are no tensors
  std::vector<Range> ranges;
  ranges.reserve(data_sets.size());
  for (const auto& data_set : data_sets) {
    const std::string path = kTensorFolder + data_set.name;
    create_groups(file.get(), path, groups);
    ranges.push_back(create_data_set(file.get(), path, data_set, properties.get()));
  }
  file.close();
  if (image.out_of_memory) {
    throw CheckpointError{"no memory for the layout of a checkpoint file", ExitCode::OutOfMemory};
  }
  return ranges;
}

}  // namespace

DataSet whole_tensor(std::string name, DType dtype, std::vector<std::int64_t> shape) {
  const auto bytes = bytes_of(shape, dtype);
  return {std::move(name), dtype, std::move(shape), bytes};
}

DataSet piece_of_tensor(const std::string& name, DType dtype, std::int64_t first,
                        std::int64_t bytes) {
  return {name + "/from-" + std::to_string(first), dtype, {bytes / size_of(dtype)}, bytes};
}

bool is_valid_tensor_name(std::string_view name) {
  constexpr std::string_view kAllowed =
      "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789._-/";
  if (name.empty() || name.size() > kMaxNameCharacters) return false;
  if (name.find_first_not_of(kAllowed) != std::string_view::npos) return false;
  for (std::size_t begin = 0; begin <= name.size();) {
    const auto end = std::min(name.find('/', begin), name.size());
    const auto part = name.substr(begin, end - begin);
    if (part.empty() || part == "." || part == "..") return false;
    begin = end + 1;
  }
  return true;
}

std::vector<Range> complement(std::vector<Range> taken, std::int64_t file_bytes) {
  std::erase_if(taken, [](const Range& range) { return range.bytes == 0; });
  std::sort(taken.begin(), taken.end(),
            [](const Range& left, const Range& right) { return left.offset < right.offset; });
  std::vector<Range> gaps;
  std::int64_t position = 0;
  for (const auto& range : taken) {
    if (range.offset > position) gaps.push_back({position, range.offset - position});
    position = range.offset + range.bytes;
  }
  if (position < file_bytes) gaps.push_back({position, file_bytes - position});
  return gaps;
}

Hdf5Layout lay_out_hdf5(std::span<const DataSet> data_sets) {
  const QuietHdf5 quiet;
  SparseImage image;
  Hdf5Layout layout;
  layout.tensors = create_file(data_sets, image);
  layout.file_bytes = static_cast<std::int64_t>(image.size);
  for (const auto& gap : complement(layout.tensors, layout.file_bytes)) {
    Hdf5Layout::Piece piece{gap.offset, {}};
    piece.bytes.resize(static_cast<std::size_t>(gap.bytes));
    image.read(static_cast<std::uint64_t>(gap.offset), piece.bytes);
    layout.metadata.push_back(std::move(piece));
  }
  return layout;
}

}  // namespace hone::checkpoints::detail
