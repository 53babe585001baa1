#include "training/gathered_predictions.hpp"

#include <ATen/ops/full.h>
#include <ATen/ops/from_blob.h>
#include <ATen/ops/tensor.h>
#include <ATen/ops/zeros.h>

#include <algorithm>
#include <cstring>

#include "hone/core/error.hpp"

namespace hone::detail {
namespace {

/// Fills what a shorter sample does not have. Source: transformers' padding of gathered
/// predictions.
constexpr double kFiller = -100.0;

void put(std::string& bytes, const void* data, std::size_t size) {
  bytes.append(static_cast<const char*>(data), size);
}

void put(std::string& bytes, std::int64_t number) { put(bytes, &number, sizeof number); }

std::int64_t take(std::string_view& bytes) {
  std::int64_t number = 0;
  std::memcpy(&number, bytes.data(), sizeof number);
  bytes.remove_prefix(sizeof number);
  return number;
}

/// (n, T, ...) of rows that lie one behind another, the space behind the shorter ones filled. The
/// last `unused` entries of each row are left out.
at::Tensor padded(const at::Tensor& packed, std::span<const std::int64_t> lengths,
                  std::int64_t unused = 0) {
  const auto longest = *std::max_element(lengths.begin(), lengths.end()) - unused;
  auto shape = packed.sizes().vec();
  shape[0] = longest;
  shape.insert(shape.begin(), static_cast<std::int64_t>(lengths.size()));
  auto all = at::full(shape, kFiller, packed.options());
  std::int64_t begin = 0;
  for (std::size_t i = 0; i < lengths.size(); ++i) {
    const auto used = lengths[i] - unused;
    all[static_cast<std::int64_t>(i)].narrow(0, 0, used).copy_(packed.narrow(0, begin, used));
    begin += lengths[i];
  }
  return all;
}

/// (n, T) of lists of labels.
at::Tensor padded(std::span<const std::span<const std::int64_t>> lists) {
  std::vector<std::int64_t> lengths, labels;
  for (const auto& list : lists) {
    lengths.push_back(static_cast<std::int64_t>(list.size()));
    labels.insert(labels.end(), list.begin(), list.end());
  }
  return padded(at::tensor(labels, at::kLong), lengths);
}

/// A sample's labels, and its prediction as float64, which holds ids and scores alike.
struct Part {
  std::int64_t index = 0;
  std::vector<std::int64_t> labels;
  at::Tensor value;
};

std::vector<Part> unpacked(std::string_view bytes, at::ScalarType& dtype) {
  std::vector<Part> parts;
  if (bytes.empty()) return parts;
  dtype = static_cast<at::ScalarType>(take(bytes));
  while (!bytes.empty()) {
    Part part{.index = take(bytes), .labels = {}, .value = {}};
    part.labels.resize(static_cast<std::size_t>(take(bytes)));
    for (auto& label : part.labels) label = take(bytes);
    std::vector<std::int64_t> shape(static_cast<std::size_t>(take(bytes)));
    for (auto& size : shape) size = take(bytes);
    part.value = at::zeros(shape, at::kDouble);
    std::memcpy(part.value.mutable_data_ptr(), bytes.data(), part.value.nbytes());
    bytes.remove_prefix(part.value.nbytes());
    parts.push_back(std::move(part));
  }
  return parts;
}

/// All parts in the order of their samples, the smaller ones filled up to the largest.
at::Tensor stacked(const std::vector<Part>& parts, std::size_t count) {
  if (parts.empty()) return at::zeros({0}, at::kDouble);
  auto shape = parts.front().value.sizes().vec();
  for (const auto& part : parts) {
    if (part.value.dim() != static_cast<std::int64_t>(shape.size())) {
      throw InputError{"preprocess_logits_for_metrics returned tensors of different ranks"};
    }
    for (std::size_t i = 0; i < shape.size(); ++i) {
      shape[i] = std::max(shape[i], part.value.size(static_cast<std::int64_t>(i)));
    }
  }
  shape.insert(shape.begin(), static_cast<std::int64_t>(count));
  auto all = at::full(shape, kFiller, at::kDouble);
  for (const auto& part : parts) {
    auto place = all[part.index];
    for (std::int64_t dim = 0; dim < part.value.dim(); ++dim) {
      place = place.narrow(dim, 0, part.value.size(dim));
    }
    place.copy_(part.value);
  }
  return all;
}

std::string packed(const Metrics& metrics) {
  std::string bytes;
  for (const auto& [name, value] : metrics) {
    put(bytes, static_cast<std::int64_t>(name.size()));
    bytes += name;
    put(bytes, &value, sizeof value);
  }
  return bytes;
}

Metrics metrics_of(std::string_view bytes) {
  Metrics metrics;
  while (!bytes.empty()) {
    const auto size = static_cast<std::size_t>(take(bytes));
    std::string name{bytes.substr(0, size)};
    bytes.remove_prefix(size);
    double value = 0.0;
    std::memcpy(&value, bytes.data(), sizeof value);
    bytes.remove_prefix(sizeof value);
    metrics.emplace_back(std::move(name), value);
  }
  return metrics;
}

}  // namespace

std::span<const std::int64_t> GatheredPredictions::labels_of(std::int64_t sample) const {
  const std::span labels{rows_[static_cast<std::size_t>(sample)].labels};
  return labels.subspan(static_cast<std::size_t>(num_start_tokens_));
}

void GatheredPredictions::add(std::span<const std::int64_t> samples,
                              std::span<const std::int64_t> lengths, const at::Tensor& logits) {
  if (samples.size() != lengths.size()) {
    throw InputError{"metrics need a collator that makes one sequence of each sample"};
  }
  // Logits at a start token predict the first label: transformers shows them at the same index.
  const auto batch = padded(logits, lengths, num_start_tokens_);
  std::vector<std::span<const std::int64_t>> labels;
  for (const auto sample : samples) labels.push_back(labels_of(sample));
  const auto predicted = hooks_.preprocess_logits_for_metrics
                             ? hooks_.preprocess_logits_for_metrics(batch, padded(labels))
                             : batch.argmax(-1);
  if (predicted.dim() < 1 || predicted.size(0) != static_cast<std::int64_t>(samples.size())) {
    throw InputError{"preprocess_logits_for_metrics must return a row for each of its " +
                     std::to_string(samples.size()) + " samples"};
  }
  const bool per_token = hooks_.per_token && predicted.dim() > 1;
  if (per_token && predicted.size(1) != batch.size(1)) {
    throw InputError{"preprocess_logits_for_metrics returned " + std::to_string(predicted.size(1)) +
                     " places for each sample of " + std::to_string(batch.size(1)) +
                     " tokens. Return (n, T, ...), or say EvalHooks::per_token = false"};
  }
  if (packed_.empty()) put(packed_, static_cast<std::int64_t>(predicted.scalar_type()));
  for (std::size_t i = 0; i < samples.size(); ++i) {
    auto value = predicted[static_cast<std::int64_t>(i)].to(at::kCPU, at::kDouble);
    // The rest is its neighbours' length.
    if (per_token) value = value.narrow(0, 0, lengths[i] - num_start_tokens_);
    value = value.contiguous();
    put(packed_, samples[i]);
    put(packed_, static_cast<std::int64_t>(labels[i].size()));
    put(packed_, labels[i].data(), labels[i].size_bytes());
    put(packed_, value.dim());
    for (const auto size : value.sizes()) put(packed_, size);
    put(packed_, value.const_data_ptr(), value.nbytes());
  }
}

EvalPrediction GatheredPredictions::joined(std::span<const std::string> of_ranks) const {
  std::vector<Part> parts;
  at::ScalarType dtype = at::kLong;
  for (const auto& bytes : of_ranks) {
    for (auto& part : unpacked(bytes, dtype)) parts.push_back(std::move(part));
  }
  std::vector<std::span<const std::int64_t>> labels(rows_.size());
  for (const auto& part : parts) labels[static_cast<std::size_t>(part.index)] = part.labels;
  return {stacked(parts, rows_.size()).to(dtype),
          rows_.empty() ? at::zeros({0, 0}, at::kLong) : padded(labels)};
}

Metrics GatheredPredictions::metrics(Communicator& comm) {
  if (!hooks_.compute_metrics) return {};
  const auto of_ranks = all_gather_strings(comm, packed_);
  std::string result;
  run_agreed(comm, [&] {
    if (comm.rank() == 0) result = packed(hooks_.compute_metrics(joined(of_ranks)));
  });
  return metrics_of(broadcast_string(comm, result));
}

}  // namespace hone::detail
