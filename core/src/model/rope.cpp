#include "model/rope.hpp"

#include <ATen/ops/arange.h>

#include <cmath>
#include <numbers>

namespace hone::detail {
namespace {

/// Source: Llama 3.1's frequency scaling as in transformers' modeling_rope_utils.
double scale_llama3(double frequency, double factor, double low, double high, double old_length) {
  const double wavelength = 2.0 * std::numbers::pi / frequency;
  if (wavelength > old_length / low) return frequency / factor;
  if (wavelength < old_length / high) return frequency;
  const double smooth = (old_length / wavelength - low) / (high - low);
  return (1.0 - smooth) * frequency / factor + smooth * frequency;
}

}  // namespace

at::Tensor inverse_frequencies(const ModelConfig& config, std::int64_t head_dim) {
  auto rope = config.json().value("rope_parameters", nlohmann::json{});
  if (!rope.is_object()) rope = config.json().value("rope_scaling", nlohmann::json{});
  if (!rope.is_object()) rope = nlohmann::json::object();
  const double theta = rope.value("rope_theta", config.get<double>({"rope_theta"}, 10000.0));
  const std::string kind = rope.value("rope_type", rope.value("type", std::string{"default"}));

  auto frequencies = at::arange(0, head_dim, 2, at::kDouble);
  auto* data = frequencies.mutable_data_ptr<double>();
  for (std::int64_t i = 0; i < frequencies.numel(); ++i) {
    data[i] = std::pow(theta, -data[i] / static_cast<double>(head_dim));
  }
  if (kind == "default") return frequencies;
  const double factor = rope.value("factor", 1.0);
  if (kind == "linear") return frequencies.div_(factor);
  if (kind == "llama3") {
    for (std::int64_t i = 0; i < frequencies.numel(); ++i) {
      data[i] = scale_llama3(data[i], factor, rope.value("low_freq_factor", 1.0),
                             rope.value("high_freq_factor", 4.0),
                             rope.value("original_max_position_embeddings", 8192.0));
    }
    return frequencies;
  }
  config.fail("rope_type \"" + kind + "\" is not supported (default, linear, llama3)");
}

}  // namespace hone::detail
