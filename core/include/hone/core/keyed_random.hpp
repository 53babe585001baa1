#pragma once

#include <array>
#include <cstdint>
#include <vector>

namespace hone {

/// One block of Philox4x32-10: 128 random bits that are a pure function of counter and key. For a
/// fixed key it is a bijection of the counter.
/// Source: Salmon et al., "Parallel random numbers: as easy as 1, 2, 3", SC 2011; the constants and
/// the known answers are those of the Random123 library.
std::array<std::uint32_t, 4> philox4x32(std::array<std::uint32_t, 4> counter,
                                        std::array<std::uint32_t, 2> key);

/// A stream of random numbers named by (seed, a, b, c), read at any index in any order: what a
/// sample draws depends on who it is (seed, round, prompt, k), never on which rank draws it, in
/// which batch, or what was drawn before. There is no state to save.
///
/// The four parts are enciphered into 128 bits that become Philox's key and the upper half of its
/// counter; the index is the lower half. Two streams with equal (seed, a, b) are never the same for
/// different c; of n streams that differ otherwise two coincide with a chance of about n^2 / 2^129.
///
/// Thread-safety: const methods may run concurrently.
class KeyedRandom {
 public:
  explicit KeyedRandom(std::uint64_t seed, std::uint64_t a = 0, std::uint64_t b = 0,
                       std::uint64_t c = 0);

  /// 128 random bits.
  std::array<std::uint32_t, 4> words(std::uint64_t index) const;
  /// 64 random bits: the first half of words().
  std::uint64_t bits(std::uint64_t index) const;
  /// In [0, 1), a multiple of 2^-53.
  double uniform(std::uint64_t index) const;

 private:
  std::array<std::uint32_t, 2> key_;
  std::array<std::uint32_t, 2> counter_high_;
};

/// The numbers 0 .. n-1 in an order that depends on the stream alone; every order is equally
/// likely. Reads the stream from index 0 on. `n` must not be negative.
std::vector<std::int64_t> keyed_permutation(std::int64_t n, const KeyedRandom& random);

}  // namespace hone
