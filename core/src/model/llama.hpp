#pragma once

#include <array>

#include "hone/core/model/language_model.hpp"
#include "hone/core/model/layers.hpp"
#include "model/model_config.hpp"

namespace hone::detail {

struct LlamaConfig {
  ModelShape shape;
  std::int64_t intermediate_size = 0;
  double norm_eps = 1e-6;
  bool attention_bias = false;
  bool mlp_bias = false;
  bool tied = false;
  double attention_dropout = 0.0;
  at::Tensor inverse_frequencies;
};

LlamaConfig read_llama_config(const ModelConfig& config);

/// Llama 2 and 3, SmolLM2: RMS norm, rotary positions, grouped-query attention, gated SiLU.
/// Source: transformers' modeling_llama.
class LlamaModel final : public LanguageModel {
 public:
  LlamaModel(LlamaConfig config, const LoadOptions& options);

  const ModelShape& shape() const override { return config_.shape; }
  ParameterStore& parameters() override { return parameters_; }
  at::Tensor forward(const TokenInput& tokens, Attention& attention) override;
  const at::Tensor& output_weight() override;
  bool has_dropout() const override { return config_.attention_dropout > 0; }
  std::vector<BlockStack> stacks(std::int64_t length, bool on_gpu) const override;

 private:
  struct Block {
    at::Tensor input_norm, post_attention_norm;
    std::array<LinearLayer, 3> qkv;
    LinearLayer o;
    std::array<LinearLayer, 2> gate_up;
    LinearLayer down;
  };
  LinearLayer linear(const std::string& name) const;
  Block block(std::int64_t layer) const;

  LlamaConfig config_;
  ParameterStore parameters_;
  at::Tensor embedding_, norm_, head_;
  std::vector<Block> blocks_;
};

}  // namespace hone::detail
