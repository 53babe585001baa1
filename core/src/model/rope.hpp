#pragma once

#include <ATen/core/Tensor.h>

#include "model/model_config.hpp"

namespace hone::detail {

/// Inverse frequencies after the configured scaling. Shape: (head_dim / 2) float64.
/// Reads rope_theta and rope_scaling (transformers 4) or rope_parameters (5); kinds default, linear
/// and llama3. Throws: InputError naming any other kind.
at::Tensor inverse_frequencies(const ModelConfig& config, std::int64_t head_dim);

}  // namespace hone::detail
