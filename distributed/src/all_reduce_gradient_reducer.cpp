#include "hone/distributed/all_reduce_gradient_reducer.hpp"

#include <algorithm>
#include <utility>

#include "flat_sharing.hpp"

namespace hone::distributed {
namespace {

/// Units: bytes. A bucket that is sent narrower needs half as many beside the gradients.
constexpr std::int64_t kNarrowBucketBytes = std::int64_t{64} << 20;

FlatBuffer part_of(const FlatBuffer& buffer, const ElementRange& range) {
  return {detail::element(buffer, range.begin), range.count, buffer.dtype};
}

}  // namespace

AllReduceGradientReducer::AllReduceGradientReducer(Communicator& comm, ReducerOptions options,
                                                   Device* device)
    : comm_(comm), options_(options), device_(device == nullptr ? cpu_ : *device) {
  if (options_.bfloat16_on_wire) {
    options_.bucket_bytes = std::min(options_.bucket_bytes, kNarrowBucketBytes);
  }
}

BufferPartition AllReduceGradientReducer::partition(std::int64_t count) const {
  return {count, comm_.size(), options_.bucket_bytes / size_of(DType::Float32)};
}

void AllReduceGradientReducer::start(const FlatBuffer& gradients, std::int64_t bucket,
                                     SumsFor whom) {
  const auto parts = partition(gradients.count);
  auto sent = part_of(gradients, parts.bucket(bucket));
  const auto block = parts.block(bucket);
  if (whom == SumsFor::AllRanks) {
    if (is_sent_narrow(gradients)) sent = narrowed(sent, {0, sent.count});
    comm_.start_all_reduce(sent.data, sent.count, sent.dtype, ReduceOp::Sum);
  } else {
    const auto rest = part_of(gradients, parts.rest(bucket));
    comm_.start_all_reduce(rest.data, rest.count, rest.dtype, ReduceOp::Sum);
    sent.count = comm_.size() * block;
    if (is_sent_narrow(gradients)) sent = narrowed(sent, {comm_.rank() * block, block});
    comm_.start_reduce_scatter(sent.data, block, sent.dtype, ReduceOp::Sum);
  }
  if (!comm_.is_asynchronous()) widen_all();
}

void AllReduceGradientReducer::wait() {
  comm_.wait();
  widen_all();
}

void AllReduceGradientReducer::share(std::span<const FlatBuffer> values) {
  detail::share(comm_, *this, values);
}

bool AllReduceGradientReducer::is_sent_narrow(const FlatBuffer& buffer) const {
  return options_.bfloat16_on_wire && buffer.dtype == DType::Float32 && comm_.size() > 1;
}

/// The values rounded, in memory of the reducer's.
FlatBuffer AllReduceGradientReducer::narrowed(const FlatBuffer& values, const ElementRange& wanted) {
  std::shared_ptr<std::byte> wire;
  if (free_wires_.empty()) {
    // Buckets are rounded up to whole blocks of all ranks.
    const auto bytes = options_.bucket_bytes / 2 +
                       comm_.size() * BufferPartition::kGrain * size_of(DType::BFloat16);
    wire = comm_.allocate(bytes);
    if (wire == nullptr) wire = device_.allocate(bytes);
  } else {
    wire = std::move(free_wires_.back());
    free_wires_.pop_back();
  }
  device_.narrow(static_cast<const float*>(values.data),
                 reinterpret_cast<std::uint16_t*>(wire.get()), values.count);
  narrowed_.push_back({wire, values, wanted});
  return {wire.get(), values.count, DType::BFloat16};
}

void AllReduceGradientReducer::widen_all() {
  for (auto& [wire, values, wanted] : narrowed_) {
    device_.widen(reinterpret_cast<const std::uint16_t*>(wire.get()) + wanted.begin,
                  static_cast<float*>(values.data) + wanted.begin, wanted.count);
    free_wires_.push_back(std::move(wire));
  }
  narrowed_.clear();
}

}  // namespace hone::distributed
