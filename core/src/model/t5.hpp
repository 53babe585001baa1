#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "hone/core/model/language_model.hpp"
#include "model/model_config.hpp"

namespace hone::detail {

struct T5Config {
  ModelShape shape;  ///< layers, heads and widths are the decoder's
  std::int64_t inner_size = 0;
  std::int64_t num_encoder_layers = 0;
  std::int64_t num_buckets = 32;
  std::int64_t max_distance = 128;
  double norm_eps = 1e-6;
  bool gated = false;  ///< wi_0 through gelu_new times wi_1, instead of wi through relu
  bool tied = true;
  double output_scale = 1.0;  ///< of the hidden states before the head
  double dropout = 0.0;
};

T5Config read_t5_config(const ModelConfig& config);

/// Buckets of relative positions. Shape: offsets (...) int64, key minus query; returns the same
/// shape.
/// Source: transformers' T5Attention._relative_position_bucket.
at::Tensor t5_buckets(const at::Tensor& offsets, bool bidirectional, std::int64_t num_buckets,
                      std::int64_t max_distance);

/// T5, Flan-T5: an encoder and a decoder of RMS norm before each sublayer, learned biases by
/// relative position that all layers of a stack share, scores not scaled. Source: transformers'
/// modeling_t5.
class T5Model final : public LanguageModel {
 public:
  T5Model(T5Config config, const LoadOptions& options);

  const ModelShape& shape() const override { return config_.shape; }
  ParameterStore& parameters() override { return parameters_; }
  /// The decoder. Positions are relative: those of `tokens` are not looked at.
  at::Tensor forward(const TokenInput& tokens, Attention& attention) override;
  EncodedSource encode(const TokenInput& source, std::span<const std::int64_t> lengths) override;
  const at::Tensor& output_weight() override;
  bool has_dropout() const override { return config_.dropout > 0; }
  std::vector<BlockStack> stacks(std::int64_t length, bool on_gpu) const override;

 private:
  struct Heads {
    at::Tensor q, k, v, o;
  };
  struct FeedForward {
    at::Tensor gate, in, out;  ///< gate only where gated
  };
  struct Block {
    at::Tensor self_norm, source_norm, feed_norm;
    Heads self, source;  ///< source only in the decoder
    FeedForward feed;
  };
  Heads heads(const std::string& name) const;
  Block block(const std::string& stack, std::int64_t layer) const;
  at::Tensor split(const at::Tensor& x, const at::Tensor& weight) const;
  at::Tensor merged(const at::Tensor& attended, const at::Tensor& weight) const;
  at::Tensor feed(const at::Tensor& x, const Block& block, const Dropout* dropout,
                  std::int64_t site) const;
  at::Tensor drop(const Dropout* dropout, const at::Tensor& x, std::int64_t site) const {
    return dropped(dropout, x, config_.dropout, site);
  }
  ScoreRule rule(const PositionBias* bias, std::int64_t site) const;
  at::Tensor norm(const at::Tensor& x, const at::Tensor& weight) const;

  T5Config config_;
  ParameterStore parameters_;
  at::Tensor embedding_, head_, encoder_norm_, decoder_norm_;
  std::unique_ptr<PositionBias> encoder_bias_, decoder_bias_;
  std::vector<Block> encoder_, decoder_;
};

}  // namespace hone::detail
