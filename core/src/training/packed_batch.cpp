#include "hone/core/training/packed_batch.hpp"

#include <ATen/ops/tensor.h>

#include <numeric>

#include "hone/core/error.hpp"
#include "hone/core/training/collator.hpp"

namespace hone {
namespace {

/// Row-major real tokens of a collated batch, on the host.
struct RealTokens {
  std::vector<std::int64_t> ids, labels;
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
  RealTokens out;
  for (std::int64_t row = 0; row < rows; ++row) {
    std::int64_t count = 0;
    for (std::int64_t i = row * width; i < (row + 1) * width; ++i) {
      if (real != nullptr && real[i] == 0) continue;
      out.ids.push_back(id[i]);
      out.labels.push_back(label[i]);
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

PackedBatch unpad(const CollatedBatch& batch, at::Device device) {
  if (batch.input_ids.sizes() != batch.labels.sizes() ||
      (batch.attention_mask.defined() &&
       batch.attention_mask.sizes() != batch.input_ids.sizes())) {
    throw InputError{"collated batch: input_ids, labels and attention_mask must have one shape"};
  }
  const auto tokens = real_tokens(batch);
  PackedBatch packed;
  packed.lengths = sequence_lengths(batch, tokens);
  std::vector<std::int64_t> positions, predictors, targets;
  positions.reserve(tokens.ids.size());
  std::size_t index = 0;
  for (const auto length : packed.lengths) {
    for (std::int64_t position = 0; position < length; ++position, ++index) {
      positions.push_back(position);
      if (position == 0 || !tokens.follows_real[index] || tokens.labels[index] < 0) continue;
      predictors.push_back(static_cast<std::int64_t>(index) - 1);
      targets.push_back(tokens.labels[index]);
    }
  }
  const auto to_device = [&](const std::vector<std::int64_t>& values) {
    return at::tensor(values, at::kLong).to(device);
  };
  packed.ids = to_device(tokens.ids);
  packed.positions = to_device(positions);
  packed.predictors = to_device(predictors);
  packed.targets = to_device(targets);
  return packed;
}

}  // namespace hone
