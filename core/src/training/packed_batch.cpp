#include "hone/core/training/packed_batch.hpp"

#include <ATen/ops/tensor.h>

#include <numeric>

#include "hone/core/error.hpp"
#include "hone/core/training/collator.hpp"

namespace hone {
namespace {

/// Row-major real tokens of a collated batch, on the host.
struct RealTokens {
  std::vector<std::int64_t> ids, labels, positions;
  std::vector<double> weights;
  std::vector<char> follows_real;  ///< the token before it, in its row, is real
  std::vector<std::int64_t> per_row;
};

RealTokens real_tokens(const CollatedBatch& batch) {
  const auto rows = batch.input_ids.size(0), width = batch.input_ids.size(1);
  const auto ids = batch.input_ids.contiguous(), labels = batch.labels.contiguous();
  const auto mask = batch.attention_mask.defined() ? batch.attention_mask.to(at::kLong).contiguous()
                                                   : at::Tensor{};
  const auto* id = ids.const_data_ptr<std::int64_t>();
  const auto* label = labels.const_data_ptr<std::int64_t>();
  const auto* real = mask.defined() ? mask.const_data_ptr<std::int64_t>() : nullptr;
  const auto given_positions = batch.position_ids.defined() ? batch.position_ids.contiguous() : at::Tensor{};
  const auto given_weights =
      batch.weights.defined() ? batch.weights.to(at::kDouble).contiguous() : at::Tensor{};
  RealTokens out;
  for (std::int64_t row = 0; row < rows; ++row) {
    std::int64_t count = 0;
    for (std::int64_t i = row * width; i < (row + 1) * width; ++i) {
      if (real != nullptr && real[i] == 0) continue;
      out.ids.push_back(id[i]);
      out.labels.push_back(label[i]);
      if (given_positions.defined()) {
        out.positions.push_back(given_positions.const_data_ptr<std::int64_t>()[i]);
      }
      if (given_weights.defined()) out.weights.push_back(given_weights.const_data_ptr<double>()[i]);
      out.follows_real.push_back(i > row * width && (real == nullptr || real[i - 1] != 0));
      ++count;
    }
    out.per_row.push_back(count);
  }
  return out;
}

std::vector<std::int64_t> sequence_lengths(const CollatedBatch& batch, const RealTokens& tokens) {
  auto lengths = batch.sequence_lengths.empty() ? tokens.per_row : batch.sequence_lengths;
  std::erase(lengths, 0);
  const auto total = std::accumulate(lengths.begin(), lengths.end(), std::int64_t{0});
  if (total != static_cast<std::int64_t>(tokens.ids.size())) {
    throw InputError{"collated batch: sequence_lengths sum to " + std::to_string(total) +
                     " but the rows hold " + std::to_string(tokens.ids.size()) + " real tokens"};
  }
  return lengths;
}

}  // namespace

PackedBatch unpad(const CollatedBatch& batch, at::TensorOptions model) {
  for (const auto* tensor :
       {&batch.labels, &batch.attention_mask, &batch.position_ids, &batch.weights}) {
    const bool optional = tensor != &batch.labels;
    if (optional && !tensor->defined()) continue;
    if (tensor->defined() && tensor->sizes() == batch.input_ids.sizes()) continue;
    throw InputError{"collated batch: input_ids, labels, attention_mask, position_ids and weights must "
                     "have one shape"};
  }
  const auto tokens = real_tokens(batch);
  PackedBatch packed;
  packed.lengths = sequence_lengths(batch, tokens);
  std::vector<std::int64_t> positions, predictors, targets;
  std::vector<double> weights;
  positions.reserve(tokens.ids.size());
  std::size_t index = 0;
  for (const auto length : packed.lengths) {
    for (std::int64_t position = 0; position < length; ++position, ++index) {
      positions.push_back(tokens.positions.empty() ? position : tokens.positions[index]);
      if (position == 0 || !tokens.follows_real[index] || tokens.labels[index] < 0) continue;
      predictors.push_back(static_cast<std::int64_t>(index) - 1);
      targets.push_back(tokens.labels[index]);
      if (!tokens.weights.empty()) weights.push_back(tokens.weights[index]);
    }
  }
  const auto to_device = [&](const std::vector<std::int64_t>& values) {
    return at::tensor(values, at::kLong).to(model.device());
  };
  packed.target_weight = tokens.weights.empty()
                             ? static_cast<double>(targets.size())
                             : std::accumulate(weights.begin(), weights.end(), 0.0);
  if (!tokens.weights.empty()) packed.weights = at::tensor(weights, at::kDouble).to(model);
  packed.ids = to_device(tokens.ids);
  packed.positions = to_device(positions);
  packed.predictors = to_device(predictors);
  packed.targets = to_device(targets);
  return packed;
}

}  // namespace hone
