#include "streaming_copy.hpp"

#include <cstring>

#if defined(__SSE2__)
#include <emmintrin.h>
#endif

namespace hone::checkpoints::detail {

#if defined(__SSE2__)

void streaming_copy(std::byte* to, std::span<const std::byte> from) {
  constexpr std::size_t kVectors = 4;  // a cache line
  constexpr std::size_t kLine = kVectors * sizeof(__m128i);
  const std::size_t whole = from.size() / kLine * kLine;
  for (std::size_t at = 0; at < whole; at += kLine) {
    const auto* const source = reinterpret_cast<const __m128i*>(from.data() + at);
    auto* const target = reinterpret_cast<__m128i*>(to + at);
    for (std::size_t i = 0; i < kVectors; ++i) {
      _mm_stream_si128(target + i, _mm_loadu_si128(source + i));
    }
  }
  _mm_sfence();  // before anything that tells another thread of it
  if (whole < from.size()) std::memcpy(to + whole, from.data() + whole, from.size() - whole);
}

#else

void streaming_copy(std::byte* to, std::span<const std::byte> from) {
  if (!from.empty()) std::memcpy(to, from.data(), from.size());
}

#endif

}  // namespace hone::checkpoints::detail
