// The files are ordinary HDF5: h5dump, of the hdf5-tools package, reads them without hone.
#include "hdf5_layout.hpp"

#include <array>
#include <bit>
#include <cstdio>
#include <memory>

#include "checkpoint_fixture.hpp"
#include "rank_file.hpp"

namespace hone::checkpoints::detail {
namespace {

using hone::testing::CheckpointTest;
using hone::testing::Tensors;
using ::testing::HasSubstr;
using ::testing::Not;

template <typename Element>
std::span<std::byte> bytes_of(std::vector<Element>& values) {
  return std::as_writable_bytes(std::span{values});
}

class Hdf5LayoutTest : public CheckpointTest {
 protected:
  std::string h5dump(const std::string& arguments) {
    const std::string command = "h5dump " + arguments + ' ' + (root_ / "a.h5").string() + " 2>&1";
    const std::unique_ptr<FILE, int (*)(FILE*)> pipe{::popen(command.c_str(), "r"), ::pclose};
    std::string text;
    std::array<char, 4096> buffer{};
    while (const auto count = std::fread(buffer.data(), 1, buffer.size(), pipe.get())) {
      text.append(buffer.data(), count);
    }
    return text;
  }

  void write(std::span<const TensorBytes> tensors) {
    write_rank_file(real_file_ops(), root_, "a.h5", tensors);
  }
};

TEST_F(Hdf5LayoutTest, H5dumpReadsEveryType) {
  std::vector<float> floats{1.5F, -2.0F, 3.25F, 0.0F, 5.0F, 6.0F};
  std::vector<double> doubles{0.125};
  std::vector<std::int64_t> integers{-7, 1LL << 40};
  std::vector<std::uint8_t> small{255, 1};
  std::vector<std::uint16_t> brain{0x3FC0};  // 1.5 in bfloat16
  std::vector<std::uint16_t> half{0x3E00, 0xC000, 0x7BFF};  // 1.5, -2, 65504 in IEEE half
  std::vector<std::int64_t> none;
  write(std::vector<TensorBytes>{{"model/w", DType::Float32, {2, 3}, bytes_of(floats)},
                                 {"d", DType::Float64, {}, bytes_of(doubles)},
                                 {"i", DType::Int64, {2}, bytes_of(integers)},
                                 {"u", DType::UInt8, {2}, bytes_of(small)},
                                 {"b", DType::BFloat16, {1}, bytes_of(brain)},
                                 {"h", DType::Float16, {3}, bytes_of(half)},
                                 {"e", DType::Int64, {0, 3}, bytes_of(none)}});
  const auto model = h5dump("-d /tensors/model/w");
  EXPECT_THAT(model, HasSubstr("H5T_IEEE_F32LE"));
  EXPECT_THAT(model, HasSubstr("( 2, 3 ) / ( 2, 3 )"));
  EXPECT_THAT(model, HasSubstr("(0,0): 1.5, -2, 3.25,"));
  EXPECT_THAT(model, HasSubstr("(1,0): 0, 5, 6"));
  EXPECT_THAT(model, HasSubstr("\"float32\""));
  EXPECT_THAT(h5dump("-d /tensors/d"), HasSubstr("(0): 0.125"));
  EXPECT_THAT(h5dump("-d /tensors/i"), HasSubstr("(0): -7, 1099511627776"));
  EXPECT_THAT(h5dump("-d /tensors/u"), HasSubstr("(0): 255, 1"));
  const auto brain_dump = h5dump("-d /tensors/b");
  EXPECT_THAT(brain_dump, HasSubstr("H5T_STD_U16LE"));
  EXPECT_THAT(brain_dump, HasSubstr("(0): 16320"));
  EXPECT_THAT(brain_dump, HasSubstr("\"bfloat16\""));
  const auto half_dump = h5dump("-d /tensors/h");
  EXPECT_THAT(half_dump, HasSubstr("(0): 1.5, -2, 65504"));
  EXPECT_THAT(half_dump, HasSubstr("\"float16\""));
  EXPECT_THAT(h5dump("-d /tensors/e"), HasSubstr("( 0, 3 ) / ( 0, 3 )"));
}

TEST_F(Hdf5LayoutTest, ContiguousWithoutFilters) {
  Tensors tensors{1};
  tensors.add("a", DType::Float32, {1000, 100});
  write(tensors.views());
  const auto properties = h5dump("-p -H");
  EXPECT_THAT(properties, HasSubstr("CONTIGUOUS"));
  EXPECT_THAT(properties, HasSubstr("FILTERS {\n            NONE"));
  EXPECT_THAT(properties, HasSubstr("H5D_FILL_TIME_NEVER"));
  EXPECT_THAT(h5dump("-B -H"), HasSubstr("SUPERBLOCK_VERSION 3"));
}

TEST_F(Hdf5LayoutTest, ThousandsOfTensors) {
  Tensors tensors{1};
  for (int i = 0; i < 3000; ++i) {
    tensors.add("model/layers." + std::to_string(i) + ".weight", DType::UInt8, {i % 7, 3});
  }
  write(tensors.views());
  EXPECT_THAT(h5dump("-d /tensors/model/layers.2995.weight"), HasSubstr("( 6, 3 ) / ( 6, 3 )"));
  EXPECT_THAT(h5dump("-n"), Not(HasSubstr("error")));
}

TEST_F(Hdf5LayoutTest, AnExistingFileIsNeverOpened) {
  hone::testing::write_file(root_ / "a.h5", "somebody else's");
  EXPECT_THROW(write({}), CheckpointError);
  EXPECT_EQ(hone::testing::read_file(root_ / "a.h5"), "somebody else's");
}

TEST_F(Hdf5LayoutTest, RoomForTerabytesCostsNothing) {
  // The bytes are never touched: only their number counts.
  const auto layout = lay_out_hdf5(std::vector{whole_tensor("a", DType::Float32, {1LL << 38}),
                                               whole_tensor("b", DType::UInt8, {0})});
  EXPECT_GT(layout.file_bytes, 1LL << 40);
  std::size_t metadata = 0;
  for (const auto& piece : layout.metadata) metadata += piece.bytes.size();
  EXPECT_EQ(static_cast<std::int64_t>(metadata) + (1LL << 40), layout.file_bytes);
  EXPECT_LT(metadata, 10'000U);
}

TEST_F(Hdf5LayoutTest, ComplementIsWhatIsLeft) {
  const auto gaps = complement({{50, 10}, {10, 20}, {30, 5}, {0, 0}}, 70);
  ASSERT_EQ(gaps.size(), 3U);
  EXPECT_EQ(gaps[0].offset, 0);
  EXPECT_EQ(gaps[0].bytes, 10);
  EXPECT_EQ(gaps[1].offset, 35);
  EXPECT_EQ(gaps[1].bytes, 15);
  EXPECT_EQ(gaps[2].offset, 60);
  EXPECT_EQ(gaps[2].bytes, 10);
  EXPECT_TRUE(complement({{0, 70}}, 70).empty());
}

}  // namespace
}  // namespace hone::checkpoints::detail
