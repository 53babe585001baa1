#include "hone/distributed/all_reduce_gradient_reducer.hpp"

#include <algorithm>

#include "flat_sharing.hpp"
#include "half_precision.hpp"

namespace hone::distributed {
namespace {

/// Units: bytes. A bucket that is sent narrower needs half as many beside the gradients.
constexpr std::int64_t kNarrowBucketBytes = std::int64_t{64} << 20;

void widen(const std::uint16_t* from, float* into, std::int64_t count) {
  for (std::int64_t i = 0; i < count; ++i) into[i] = detail::bfloat16_to_float(from[i]);
}

}  // namespace

AllReduceGradientReducer::AllReduceGradientReducer(Communicator& comm, ReducerOptions options)
    : comm_(comm), options_(options) {
  if (options_.bfloat16_on_wire) {
    options_.bucket_bytes = std::min(options_.bucket_bytes, kNarrowBucketBytes);
  }
}

BufferPartition AllReduceGradientReducer::partition(std::int64_t count) const {
  return {count, comm_.size(), options_.bucket_bytes / size_of(DType::Float32)};
}

void AllReduceGradientReducer::reduce(std::span<const FlatBuffer> gradients) {
  for (const auto& buffer : gradients) {
    const auto parts = partition(buffer.count);
    for (std::int64_t i = 0; i < parts.num_buckets(); ++i) {
      const auto bucket = parts.bucket(i);
      auto* start = detail::element(buffer, bucket.begin);
      if (!is_sent_narrow(buffer)) {
        comm_.all_reduce(start, bucket.count, buffer.dtype, ReduceOp::Sum);
        continue;
      }
      auto* values = static_cast<float*>(start);
      auto* wire = narrowed(values, bucket.count);
      comm_.all_reduce(wire, bucket.count, DType::BFloat16, ReduceOp::Sum);
      widen(wire, values, bucket.count);
    }
  }
}

void AllReduceGradientReducer::reduce_to_owners(std::span<const FlatBuffer> gradients) {
  for (const auto& buffer : gradients) {
    const auto parts = partition(buffer.count);
    for (std::int64_t i = 0; i < parts.num_buckets(); ++i) {
      const auto first = parts.bucket(i).begin;
      const auto block = parts.block(i);
      const auto rest = parts.rest(i);
      comm_.all_reduce(detail::element(buffer, rest.begin), rest.count, buffer.dtype, ReduceOp::Sum);
      if (!is_sent_narrow(buffer)) {
        comm_.reduce_scatter(detail::element(buffer, first), block, buffer.dtype, ReduceOp::Sum);
        continue;
      }
      auto* values = static_cast<float*>(detail::element(buffer, first));
      auto* wire = narrowed(values, comm_.size() * block);
      comm_.reduce_scatter(wire, block, DType::BFloat16, ReduceOp::Sum);
      const auto mine = comm_.rank() * block;
      widen(wire + mine, values + mine, block);
    }
  }
}

void AllReduceGradientReducer::share(std::span<const FlatBuffer> values) {
  for (const auto& buffer : values) detail::share(comm_, buffer, partition(buffer.count));
}

bool AllReduceGradientReducer::is_sent_narrow(const FlatBuffer& buffer) const {
  return options_.bfloat16_on_wire && buffer.dtype == DType::Float32 && comm_.size() > 1;
}

/// The values in a buffer of the reducer's, rounded to nearest.
std::uint16_t* AllReduceGradientReducer::narrowed(const float* values, std::int64_t count) {
  if (count > wire_count_) {
    const auto bytes = count * size_of(DType::BFloat16);
    wire_ = comm_.allocate(bytes);
    if (wire_ == nullptr) {
      wire_ = {new std::byte[static_cast<std::size_t>(bytes)], std::default_delete<std::byte[]>{}};
    }
    wire_count_ = count;
  }
  auto* wire = reinterpret_cast<std::uint16_t*>(wire_.get());
  for (std::int64_t i = 0; i < count; ++i) wire[i] = detail::float_to_bfloat16(values[i]);
  return wire;
}

}  // namespace hone::distributed
