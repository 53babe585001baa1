#include <gtest/gtest.h>

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <vector>

#include "snapshot_buffer.hpp"

namespace hone::checkpoints::detail {
namespace {

std::vector<std::byte> noise(std::size_t count, std::uint32_t seed) {
  std::vector<std::byte> bytes(count);
  for (auto& byte : bytes) {
    seed = seed * 1664525 + 1013904223;
    byte = static_cast<std::byte>(seed >> 24);
  }
  return bytes;
}

/// Tensors of such sizes, each beginning at another place in a line of the cache.
class Tensors {
 public:
  explicit Tensors(const std::vector<std::size_t>& sizes) {
    for (std::size_t i = 0; i < sizes.size(); ++i) {
      memory_.push_back(noise(sizes[i] + i, static_cast<std::uint32_t>(i)));
    }
    for (std::size_t i = 0; i < sizes.size(); ++i) {
      views_.push_back({"t" + std::to_string(i), DType::UInt8, {static_cast<std::int64_t>(sizes[i])},
                        std::span{memory_[i]}.subspan(i)});
    }
  }
  std::vector<TensorBytes>& views() { return views_; }
  void overwrite() {
    for (auto& memory : memory_) std::fill(memory.begin(), memory.end(), std::byte{0xAA});
  }

 private:
  std::vector<std::vector<std::byte>> memory_;
  std::vector<TensorBytes> views_;
};

const std::vector<std::size_t> kSizes = {0, 1, 63, 64, 65, 4096, (std::size_t{4} << 20) - 1,
                                         std::size_t{4} << 20, (std::size_t{9} << 20) + 77};

TEST(Snapshot, HoldsWhatWasThereWhenItWasTaken) {
  Tensors tensors{kSizes}, untouched{kSizes};
  SnapshotBuffer snapshot;
  for (int i = 0; i < 2; ++i) {  // its memory is used again
    const auto copies = snapshot.copy(tensors.views());
    if (i == 1) tensors.overwrite();
    ASSERT_EQ(copies.size(), kSizes.size());
    for (std::size_t j = 0; j < copies.size(); ++j) {
      EXPECT_EQ(copies[j].name, untouched.views()[j].name);
      EXPECT_TRUE(std::ranges::equal(copies[j].bytes, untouched.views()[j].bytes)) << kSizes[j];
    }
  }
}

TEST(Snapshot, GrowsWithWhatIsCopied) {
  Tensors small{{10, 100}}, large{kSizes};
  SnapshotBuffer snapshot;
  snapshot.reserve(small.views());
  const auto copies = snapshot.copy(large.views());
  for (std::size_t j = 0; j < copies.size(); ++j) {
    EXPECT_TRUE(std::ranges::equal(copies[j].bytes, large.views()[j].bytes)) << kSizes[j];
  }
}

}  // namespace
}  // namespace hone::checkpoints::detail
