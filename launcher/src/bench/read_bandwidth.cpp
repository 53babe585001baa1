#include "bench/read_bandwidth.hpp"

#include <ATen/Parallel.h>
#include <ATen/ops/ones.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <chrono>
#include <cstddef>
#include <cstdint>

namespace hone::launcher {
namespace {

constexpr std::int64_t kWords = std::int64_t{1} << 26;  // 512 MB
constexpr std::int64_t kGrain = std::int64_t{1} << 16;
constexpr int kPasses = 25;

constexpr std::int64_t kAhead = 256;  // words: 2 KB

/// Several sums at once, and memory asked for ahead, so that the loop waits for memory alone.
std::uint64_t sum_of(const std::uint64_t* words, std::int64_t count) {
  std::array<std::uint64_t, 64> sums{};
  for (std::int64_t i = 0; i + 64 <= count; i += 64) {
    for (std::int64_t line = 0; line < 64; line += 8) __builtin_prefetch(words + i + kAhead + line);
    for (std::size_t lane = 0; lane < 64; ++lane) {
      sums[lane] += words[i + static_cast<std::int64_t>(lane)];
    }
  }
  std::uint64_t sum = 0;
  for (const auto part : sums) sum += part;
  return sum;
}

void read_by_threads(const at::Tensor& tensor) {
  const auto* words = reinterpret_cast<const std::uint64_t*>(tensor.const_data_ptr<std::int64_t>());
  std::atomic<std::uint64_t> sum = 0;  // used by nobody, but the compiler must believe otherwise
  at::parallel_for(0, kWords, kGrain, [&](std::int64_t begin, std::int64_t end) {
    sum += sum_of(words + begin, end - begin);
  });
}

double seconds_since(std::chrono::steady_clock::time_point start) {
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
}

/// All passes at once: a GPU is told of the next while it is at one.
double read_bandwidth_of_gpu(const at::Tensor& tensor) {
  tensor.sum().item<std::int64_t>();
  const auto start = std::chrono::steady_clock::now();
  at::Tensor sum;
  for (int pass = 0; pass < kPasses; ++pass) sum = tensor.sum();
  sum.item<std::int64_t>();  // the host waits for it
  return kPasses * static_cast<double>(tensor.nbytes()) / seconds_since(start);
}

}  // namespace

double read_bandwidth(c10::Device device) {
  // Where parameters lie: in huge pages, if this process has tensors there.
  const auto tensor = at::ones({kWords}, at::TensorOptions{at::kLong}.device(device));
  if (!device.is_cpu()) return read_bandwidth_of_gpu(tensor);
  double best = 0.0;
  for (int pass = 0; pass < kPasses; ++pass) {
    const auto start = std::chrono::steady_clock::now();
    read_by_threads(tensor);
    best = std::max(best, static_cast<double>(tensor.nbytes()) / seconds_since(start));
  }
  return best;
}

}  // namespace hone::launcher
