#pragma once

#include "hone/core/model/language_model.hpp"
#include "model/model_config.hpp"

namespace hone::detail {

struct Gpt2Config {
  ModelShape shape;
  std::int64_t inner_size = 0;
  double norm_eps = 1e-5;
  std::string activation;
  bool scale_by_head_dim = true;
  bool scale_by_inverse_layer = false;
  bool tied = true;
  double embedding_dropout = 0.0, attention_dropout = 0.0, residual_dropout = 0.0;
};

Gpt2Config read_gpt2_config(const ModelConfig& config);

/// GPT-2: LayerNorm before each sublayer, learned absolute positions, fused q, k, v.
/// Weights of the blocks are stored [in, out]. Source: transformers' modeling_gpt2.
class Gpt2Model final : public LanguageModel {
 public:
  Gpt2Model(Gpt2Config config, const LoadOptions& options);

  const ModelShape& shape() const override { return config_.shape; }
  ParameterStore& parameters() override { return parameters_; }
  at::Tensor forward(const TokenInput& tokens, Attention& attention) override;
  const at::Tensor& output_weight() override;
  bool has_dropout() const override {
    return config_.embedding_dropout + config_.attention_dropout + config_.residual_dropout > 0;
  }
  std::vector<BlockStack> stacks(std::int64_t length, bool on_gpu) const override;

 private:
  struct Affine {
    at::Tensor weight, bias;
  };
  struct Block {
    Affine norm_1, attention, attention_out, norm_2, mlp, mlp_out;
  };
  Affine affine(const std::string& name) const;
  at::Tensor norm(const at::Tensor& x, const Affine& affine) const;
  at::Tensor activate(const at::Tensor& x) const;
  double attention_scale(std::int64_t layer) const;

  Gpt2Config config_;
  ParameterStore parameters_;
  at::Tensor token_embedding_, position_embedding_, head_;
  Affine final_norm_;
  std::vector<Block> blocks_;
};

}  // namespace hone::detail
