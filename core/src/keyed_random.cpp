#include "hone/core/keyed_random.hpp"

#include <cassert>
#include <numeric>
#include <utility>

namespace hone {
namespace {

using Block = std::array<std::uint32_t, 4>;
using Key = std::array<std::uint32_t, 2>;

constexpr int kRounds = 10;
constexpr std::uint32_t kMultiplier0 = 0xD2511F53U;
constexpr std::uint32_t kMultiplier1 = 0xCD9E8D57U;
constexpr std::uint32_t kWeyl0 = 0x9E3779B9U;
constexpr std::uint32_t kWeyl1 = 0xBB67AE85U;

constexpr std::uint32_t low(std::uint64_t value) { return static_cast<std::uint32_t>(value); }
constexpr std::uint32_t high(std::uint64_t value) {
  return static_cast<std::uint32_t>(value >> 32);
}

Block one_round(const Block& counter, const Key& key) {
  const std::uint64_t product0 = std::uint64_t{kMultiplier0} * counter[0];
  const std::uint64_t product1 = std::uint64_t{kMultiplier1} * counter[2];
  return {high(product1) ^ counter[1] ^ key[0], low(product1), high(product0) ^ counter[3] ^ key[1],
          low(product0)};
}

/// Uniform in [0, bound) without bias: the lowest 2^64 mod bound values are drawn again.
std::uint64_t bounded(std::uint64_t bound, const KeyedRandom& random, std::uint64_t& index) {
  const std::uint64_t rejected = (0 - bound) % bound;
  std::uint64_t bits = random.bits(index++);
  while (bits < rejected) bits = random.bits(index++);
  return bits % bound;
}

}  // namespace

Block philox4x32(Block counter, Key key) {
  for (int round = 0; round < kRounds; ++round) {
    counter = one_round(counter, key);
    key[0] += kWeyl0;
    key[1] += kWeyl1;
  }
  return counter;
}

KeyedRandom::KeyedRandom(std::uint64_t seed, std::uint64_t a, std::uint64_t b, std::uint64_t c) {
  // A two-block cipher chain: (a, b) first, then c, both under the seed as key.
  const Key seed_key{low(seed), high(seed)};
  Block mixed = philox4x32({low(a), high(a), low(b), high(b)}, seed_key);
  mixed[0] ^= low(c);
  mixed[1] ^= high(c);
  mixed = philox4x32(mixed, seed_key);
  key_ = {mixed[0], mixed[1]};
  counter_high_ = {mixed[2], mixed[3]};
}

std::array<std::uint32_t, 4> KeyedRandom::words(std::uint64_t index) const {
  return philox4x32({low(index), high(index), counter_high_[0], counter_high_[1]}, key_);
}

std::uint64_t KeyedRandom::bits(std::uint64_t index) const {
  const Block block = words(index);
  return (std::uint64_t{block[1]} << 32) | block[0];
}

double KeyedRandom::uniform(std::uint64_t index) const {
  return static_cast<double>(bits(index) >> 11) * 0x1.0p-53;
}

std::vector<std::int64_t> keyed_permutation(std::int64_t n, const KeyedRandom& random) {
  assert(n >= 0);
  std::vector<std::int64_t> order(static_cast<std::size_t>(n));
  std::iota(order.begin(), order.end(), std::int64_t{0});
  std::uint64_t index = 0;
  for (std::size_t remaining = order.size(); remaining > 1; --remaining) {
    std::swap(order[remaining - 1], order[bounded(remaining, random, index)]);
  }
  return order;
}

}  // namespace hone
