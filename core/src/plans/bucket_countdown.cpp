#include "plans/bucket_countdown.hpp"

#include <algorithm>
#include <string>
#include <utility>

#include "hone/core/error.hpp"

namespace hone::detail {

BucketCountdown::BucketCountdown(std::span<const Place> parameters,
                                 std::span<const BufferPartition> partitions, Start start)
    : start_(std::move(start)), parameters_(parameters.size()) {
  for (std::size_t buffer = 0; buffer < partitions.size(); ++buffer) {
    for (std::int64_t i = 0; i < partitions[buffer].num_buckets(); ++i) order_.push_back({buffer, i});
  }
  const auto is_in = [&](const Place& place, const Bucket& bucket) {
    return place.buffer == bucket.buffer &&
           overlap(place.range, partitions[bucket.buffer].bucket(bucket.index)).count > 0;
  };
  // Backward goes from the last layer to the first: a bucket is complete with its first layer.
  const auto first_layer = [&](const Bucket& bucket) {
    return std::ranges::find_if(parameters, [&](const Place& place) { return is_in(place, bucket); }) -
           parameters.begin();
  };
  std::ranges::stable_sort(order_, std::ranges::greater{}, first_layer);
  for (std::size_t i = 0; i < parameters.size(); ++i) {
    for (std::size_t j = 0; j < order_.size(); ++j) {
      if (is_in(parameters[i], order_[j])) parameters_[i].buckets.push_back(j);
    }
  }
}

void BucketCountdown::begin(std::span<const std::size_t> frozen) {
  is_running_ = true;
  incomplete_.assign(order_.size(), 0);
  for (auto& parameter : parameters_) {
    parameter.is_frozen = false;
    parameter.writes = 0;
    for (const auto bucket : parameter.buckets) ++incomplete_[bucket];
  }
  for (const auto index : frozen) {
    parameters_[index].is_frozen = true;
    for (const auto bucket : parameters_[index].buckets) --incomplete_[bucket];
  }
}

void BucketCountdown::wrote(std::size_t index) {
  if (!is_running_) return;
  auto& parameter = parameters_[index];
  if (parameter.is_frozen) return;  // the head's weight is told of whether it was written or not
  ++parameter.writes;
  if (parameter.expected == 0) return;
  const bool is_sent = std::ranges::any_of(
      parameter.buckets, [&](std::size_t bucket) { return bucket < num_started_; });
  if (is_sent) {
    throw Error{ExitCode::Internal,
                "the gradient of parameter " + std::to_string(index) +
                    " was written after it was sent to the other ranks: " +
                    std::to_string(parameter.writes) + " writes in one backward pass, " +
                    std::to_string(parameter.expected) + " in those before. This is a bug"};
  }
  if (parameter.writes == parameter.expected) {
    for (const auto bucket : parameter.buckets) --incomplete_[bucket];
    start_complete_ones();
  } else if (parameter.writes == parameter.expected + 1) {
    for (const auto bucket : parameter.buckets) ++incomplete_[bucket];  // it is not, after all
  }
}

void BucketCountdown::finish(bool has_succeeded) {
  while (num_started_ < order_.size()) start_(order_[num_started_++]);
  num_started_ = 0;
  if (!std::exchange(is_running_, false) || !has_succeeded) return;
  for (auto& parameter : parameters_) {
    parameter.expected = std::max(parameter.expected, parameter.writes);
  }
}

void BucketCountdown::start_complete_ones() {
  while (num_started_ < order_.size() && incomplete_[num_started_] == 0) {
    start_(order_[num_started_++]);
  }
}

}  // namespace hone::detail
