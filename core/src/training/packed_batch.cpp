#include "hone/core/training/packed_batch.hpp"

#include <ATen/ops/index_select.h>
#include <ATen/ops/tensor.h>

#include <cmath>
#include <numeric>

#include "hone/core/error.hpp"
#include "hone/core/training/collator.hpp"

namespace hone {
namespace {

void require_ids(const char* name, const at::Tensor& tensor) {
  const bool is_list = tensor.defined() && tensor.dim() == 2 && tensor.is_cpu();
  if (is_list && tensor.scalar_type() == at::kLong) return;
  throw InputError{std::string{"collated batch: "} + name + " must be (B, T) int64 on the CPU"};
}

/// Row-major real tokens of a collated batch, on the host.
struct RealTokens {
  std::vector<std::int64_t> ids, labels, positions;
  std::vector<double> weights;
  std::vector<char> follows_real;  ///< the token before it, in its row, is real
  std::vector<std::int64_t> places;  ///< of each in the flattened batch
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
  const auto given_positions =
      batch.position_ids.defined() ? batch.position_ids.contiguous() : at::Tensor{};
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
      out.places.push_back(i);
      out.follows_real.push_back(i > row * width && (real == nullptr || real[i - 1] != 0));
      ++count;
    }
    out.per_row.push_back(count);
  }
  return out;
}

/// The given lengths, or else those of the rows, without empty ones.
std::vector<std::int64_t> lengths_of(const char* name, const std::vector<std::int64_t>& given,
                                     const std::vector<std::int64_t>& per_row) {
  const auto sum = [](const std::vector<std::int64_t>& counts) {
    return std::accumulate(counts.begin(), counts.end(), std::int64_t{0});
  };
  auto lengths = given.empty() ? per_row : given;
  std::erase(lengths, 0);
  if (sum(lengths) == sum(per_row)) return lengths;
  throw InputError{std::string{"collated batch: "} + name + " sum to " +
                   std::to_string(sum(lengths)) +
                   " but the rows hold " + std::to_string(sum(per_row)) + " real tokens"};
}

void require_known(const char* name, const std::vector<std::int64_t>& ids, IdKind kind,
                   std::int64_t vocab_size) {
  if (const auto unknown = first_unknown(ids, kind, vocab_size)) {
    throw InputError{std::string{"collated batch: "} + name + " hold " + std::to_string(*unknown) +
                     ", outside the vocabulary of " + std::to_string(vocab_size)};
  }
}

/// The sources without padding, one for each sequence.
void unpad_sources(const CollatedBatch& batch, at::Device device, std::int64_t vocab_size,
                   PackedBatch& packed) {
  if (!batch.source_ids.defined()) return;
  require_ids("source_ids", batch.source_ids);
  if (batch.source_mask.defined() && batch.source_mask.sizes() != batch.source_ids.sizes()) {
    throw InputError{"collated batch: source_ids and source_mask must have one shape"};
  }
  const auto tokens = real_tokens({.input_ids = batch.source_ids,
                                   .labels = batch.source_ids,
                                   .attention_mask = batch.source_mask});
  require_known("source_ids", tokens.ids, IdKind::Token, vocab_size);
  packed.source_ids = at::tensor(tokens.ids, at::kLong).to(device);
  packed.source_lengths = lengths_of("source_lengths", batch.source_lengths, tokens.per_row);
  if (packed.source_lengths.size() == packed.lengths.size()) return;
  throw InputError{"collated batch: " + std::to_string(packed.source_lengths.size()) +
                   " sources for " + std::to_string(packed.lengths.size()) + " sequences"};
}

void unpad_extra(const CollatedBatch& batch, const RealTokens& tokens, at::Device device,
                 PackedBatch& packed) {
  const auto places = at::tensor(tokens.places, at::kLong);
  for (const auto& [name, tensor] : batch.extra) {
    if (tensor.dim() < 2 || tensor.sizes().slice(0, 2) != batch.input_ids.sizes()) {
      throw InputError{"collated batch: extra tensor " + name +
                       " must begin with the two sizes of input_ids"};
    }
    packed.extra[name] = at::index_select(tensor.flatten(0, 1), 0, places).to(device);
  }
}

}  // namespace

PackedBatch unpad(const CollatedBatch& batch, at::TensorOptions model, std::int64_t vocab_size) {
  require_ids("input_ids", batch.input_ids);
  require_ids("labels", batch.labels);
  if (batch.position_ids.defined()) require_ids("position_ids", batch.position_ids);
  for (const auto* tensor :
       {&batch.labels, &batch.attention_mask, &batch.position_ids, &batch.weights}) {
    const bool optional = tensor != &batch.labels;
    if (optional && !tensor->defined()) continue;
    if (tensor->defined() && tensor->sizes() == batch.input_ids.sizes()) continue;
    throw InputError{"collated batch: input_ids, labels, attention_mask, position_ids and weights "
                     "must have one shape"};
  }
  const auto tokens = real_tokens(batch);
  require_known("input_ids", tokens.ids, IdKind::Token, vocab_size);
  require_known("labels", tokens.labels, IdKind::Label, vocab_size);
  for (const double weight : tokens.weights) {
    if (std::isfinite(weight) && weight >= 0) continue;
    throw InputError{"collated batch: weights hold " + std::to_string(weight) +
                     ": they must be finite numbers >= 0"};
  }
  PackedBatch packed;
  packed.lengths = lengths_of("sequence_lengths", batch.sequence_lengths, tokens.per_row);
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
  if (!tokens.weights.empty()) {
    const bool is_double = model.dtype() == at::kDouble;
    packed.weights =
        at::tensor(weights, at::kDouble).to(model.device(), is_double ? at::kDouble : at::kFloat);
  }
  packed.ids = to_device(tokens.ids);
  packed.positions = to_device(positions);
  packed.predictors = to_device(predictors);
  packed.targets = to_device(targets);
  unpad_sources(batch, model.device(), vocab_size, packed);
  unpad_extra(batch, tokens, model.device(), packed);
  return packed;
}

}  // namespace hone
