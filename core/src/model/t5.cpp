#include "model/t5.hpp"

#include <ATen/TensorOperators.h>
#include <ATen/ops/gelu.h>
#include <ATen/ops/index_select.h>
#include <ATen/ops/relu.h>
#include <ATen/ops/where.h>

#include <algorithm>
#include <cmath>

#include "hone/core/model/layers.hpp"

namespace hone::detail {
namespace {

/// Places where elements are dropped. Of each stack: the embedding (+ 0) and what the stack returns
/// (+ 1), then those of each block.
constexpr std::int64_t kEncoderSites = 0;
constexpr std::int64_t kDecoderSites = std::int64_t{1} << 32;
constexpr std::int64_t kSitesPerBlock = 8;

std::string block_prefix(const std::string& stack, std::int64_t layer) {
  return stack + ".block." + std::to_string(layer) + ".layer.";
}

std::vector<ParameterSpec> specs_of(const T5Config& config) {
  const auto& s = config.shape;
  const auto heads_width = s.num_heads * s.head_dim;
  std::vector<ParameterSpec> specs;
  const auto add = [&](const std::string& name, std::vector<std::int64_t> shape) {
    specs.push_back({name, std::move(shape), is_decayed(name)});
  };
  const auto add_heads = [&](const std::string& name) {
    for (const char* part : {".q", ".k", ".v"}) {
      add(name + part + ".weight", {heads_width, s.hidden_size});
    }
    add(name + ".o.weight", {s.hidden_size, heads_width});
  };
  add("shared.weight", {s.vocab_size, s.hidden_size});
  for (const std::string stack : {"encoder", "decoder"}) {
    const bool decodes = stack == "decoder";
    const auto num_layers = decodes ? s.num_layers : config.num_encoder_layers;
    for (std::int64_t layer = 0; layer < num_layers; ++layer) {
      const auto prefix = block_prefix(stack, layer);
      add_heads(prefix + "0.SelfAttention");
      if (layer == 0) {
        add(prefix + "0.SelfAttention.relative_attention_bias.weight",
            {config.num_buckets, s.num_heads});
      }
      add(prefix + "0.layer_norm.weight", {s.hidden_size});
      if (decodes) {
        add_heads(prefix + "1.EncDecAttention");
        add(prefix + "1.layer_norm.weight", {s.hidden_size});
      }
      const auto feed = prefix + (decodes ? "2" : "1");
      for (const char* part : config.gated ? std::vector<const char*>{"wi_0", "wi_1"}
                                           : std::vector<const char*>{"wi"}) {
        add(feed + ".DenseReluDense." + part + ".weight", {config.inner_size, s.hidden_size});
      }
      add(feed + ".DenseReluDense.wo.weight", {s.hidden_size, config.inner_size});
      add(feed + ".layer_norm.weight", {s.hidden_size});
    }
    add(stack + ".final_layer_norm.weight", {s.hidden_size});
  }
  if (!config.tied) add("lm_head.weight", {s.vocab_size, s.hidden_size});
  return specs;
}

/// Biases of one stack, by relative position.
class BucketBias final : public PositionBias {
 public:
  BucketBias(const at::Tensor& table, bool bidirectional, const T5Config& config)
      : table_(table), bidirectional_(bidirectional), config_(config) {}

  at::Tensor operator()(const at::Tensor& offsets) const override {
    const auto buckets =
        t5_buckets(offsets, bidirectional_, config_.num_buckets, config_.max_distance);
    return at::index_select(table_, 0, buckets).t();
  }

 private:
  at::Tensor table_;
  bool bidirectional_;
  const T5Config& config_;
};

}  // namespace

at::Tensor t5_buckets(const at::Tensor& offsets, bool bidirectional, std::int64_t num_buckets,
                      std::int64_t max_distance) {
  const auto half = bidirectional ? num_buckets / 2 : num_buckets;
  const auto base = bidirectional ? offsets.gt(0).to(at::kLong) * half : offsets * 0;
  const auto distance = bidirectional ? offsets.abs() : (-offsets).clamp_min(0);
  const auto exact = half / 2;
  const double per_bucket = std::log(static_cast<double>(max_distance) / static_cast<double>(exact));
  const auto log_distance =
      ((distance.clamp_min(1).to(at::kFloat) / static_cast<double>(exact)).log() / per_bucket *
       static_cast<double>(half - exact))
          .to(at::kLong);
  const auto far = (log_distance + exact).clamp_max(half - 1);
  return base + at::where(distance < exact, distance, far);
}

T5Config read_t5_config(const ModelConfig& config) {
  T5Config t5;
  auto& s = t5.shape;
  s.model_type = config.model_type();
  s.is_encoder_decoder = true;
  s.vocab_size = config.require_positive({"vocab_size"});
  s.hidden_size = config.require_positive({"d_model"});
  s.head_dim = config.require_positive({"d_kv"});
  s.num_heads = s.num_kv_heads = config.require_positive({"num_heads"});
  t5.num_encoder_layers = config.require_positive({"num_layers"});
  s.num_layers = config.get<std::int64_t>({"num_decoder_layers"}, t5.num_encoder_layers);
  s.max_positions = config.get<std::int64_t>({"n_positions"}, 512);
  config.fill_token_ids(s);
  s.decoder_start_id = config.get<std::int64_t>({"decoder_start_token_id"}, s.pad_id.value_or(0));
  t5.inner_size = config.require_positive({"d_ff"});
  t5.num_buckets = config.get<std::int64_t>({"relative_attention_num_buckets"}, 32);
  t5.max_distance = config.get<std::int64_t>({"relative_attention_max_distance"}, 128);
  t5.norm_eps = config.get<double>({"layer_norm_epsilon"}, 1e-6);
  t5.dropout = config.get_probability("dropout_rate", 0.1);
  const auto feed = config.get<std::string>({"feed_forward_proj"}, "relu");
  if (feed != "relu" && feed != "gated-gelu") {
    config.fail("feed_forward_proj \"" + feed + "\" is not supported (relu, gated-gelu)");
  }
  t5.gated = feed == "gated-gelu";
  t5.tied = config.get<bool>({"tie_word_embeddings"}, true);
  const bool scaled = config.get<bool>({"scale_decoder_outputs"}, t5.tied);
  if (scaled) t5.output_scale = 1.0 / std::sqrt(static_cast<double>(s.hidden_size));
  return t5;
}

T5Model::T5Model(T5Config config, const LoadOptions& options)
    : config_(std::move(config)),
      parameters_(specs_of(config_), at::TensorOptions{options.dtype}.device(options.device),
                  options.with_masters),
      embedding_(parameters_.at("shared.weight")),
      head_(config_.tied ? embedding_ : parameters_.at("lm_head.weight")),
      encoder_norm_(parameters_.at("encoder.final_layer_norm.weight")),
      decoder_norm_(parameters_.at("decoder.final_layer_norm.weight")) {
  const auto bias = [&](const std::string& stack, bool bidirectional) {
    const auto name = block_prefix(stack, 0) + "0.SelfAttention.relative_attention_bias.weight";
    return std::make_unique<BucketBias>(parameters_.at(name), bidirectional, config_);
  };
  encoder_bias_ = bias("encoder", /*bidirectional=*/true);
  decoder_bias_ = bias("decoder", /*bidirectional=*/false);
  for (std::int64_t layer = 0; layer < config_.num_encoder_layers; ++layer) {
    encoder_.push_back(block("encoder", layer));
  }
  for (std::int64_t layer = 0; layer < config_.shape.num_layers; ++layer) {
    decoder_.push_back(block("decoder", layer));
  }
}

T5Model::Heads T5Model::heads(const std::string& name) const {
  return {parameters_.at(name + ".q.weight"), parameters_.at(name + ".k.weight"),
          parameters_.at(name + ".v.weight"), parameters_.at(name + ".o.weight")};
}

T5Model::Block T5Model::block(const std::string& stack, std::int64_t layer) const {
  const auto prefix = block_prefix(stack, layer);
  const bool decodes = stack == "decoder";
  Block block{.self_norm = parameters_.at(prefix + "0.layer_norm.weight"),
              .source_norm = {},
              .feed_norm = {},
              .self = heads(prefix + "0.SelfAttention"),
              .source = {},
              .feed = {}};
  if (decodes) {
    block.source_norm = parameters_.at(prefix + "1.layer_norm.weight");
    block.source = heads(prefix + "1.EncDecAttention");
  }
  const auto feed = prefix + (decodes ? "2." : "1.");
  block.feed_norm = parameters_.at(feed + "layer_norm.weight");
  const auto dense = feed + "DenseReluDense.";
  block.feed.in = parameters_.at(dense + (config_.gated ? "wi_1" : "wi") + ".weight");
  if (config_.gated) block.feed.gate = parameters_.at(dense + "wi_0.weight");
  block.feed.out = parameters_.at(dense + "wo.weight");
  return block;
}

at::Tensor T5Model::split(const at::Tensor& x, const at::Tensor& weight) const {
  return linear_out_in(x, weight).view({x.size(0), config_.shape.num_heads, config_.shape.head_dim});
}

at::Tensor T5Model::merged(const at::Tensor& attended, const at::Tensor& weight) const {
  return linear_out_in(attended.reshape({attended.size(0), -1}), weight);
}

at::Tensor T5Model::feed(const at::Tensor& x, const Block& block, const Dropout* dropout,
                         std::int64_t site) const {
  const auto h = norm(x, block.feed_norm);
  const auto in = linear_out_in(h, block.feed.in);
  const auto inner =
      config_.gated ? at::gelu(linear_out_in(h, block.feed.gate), "tanh") * in : at::relu(in);
  return drop(dropout, linear_out_in(drop(dropout, inner, site), block.feed.out), site + 1);
}

ScoreRule T5Model::rule(const PositionBias* bias, std::int64_t site) const {
  return {.scale = 1.0, .bias = bias, .dropout = config_.dropout, .dropout_site = site};
}

at::Tensor T5Model::norm(const at::Tensor& x, const at::Tensor& weight) const {
  return rms_norm(x, weight, config_.norm_eps);
}

EncodedSource T5Model::encode(const TokenInput& tokens, std::span<const std::int64_t> lengths) {
  const auto* dropout = tokens.dropout;
  const std::vector<std::int64_t> own_lengths{lengths.begin(), lengths.end()};
  auto x = drop(dropout, look_up(embedding_, tokens.ids, std::nullopt), kEncoderSites);
  for (std::int64_t layer = 0; layer < config_.num_encoder_layers; ++layer) {
    x = run_block(x, [=, this](const at::Tensor& input) {
      const auto& b = encoder_[static_cast<std::size_t>(layer)];
      const auto site = kEncoderSites + kSitesPerBlock * (layer + 1);
      const auto h = norm(input, b.self_norm);
      const auto attended =
          full_attention(split(h, b.self.q), split(h, b.self.k), split(h, b.self.v), own_lengths,
                         rule(encoder_bias_.get(), site), dropout);
      const auto y = input + drop(dropout, merged(attended, b.self.o), site + 1);
      return y + feed(y, b, dropout, site + 2);
    });
  }
  return {drop(dropout, norm(x, encoder_norm_), kEncoderSites + 1), own_lengths};
}

at::Tensor T5Model::forward(const TokenInput& tokens, Attention& attention) {
  const auto* dropout = tokens.dropout;
  auto x = drop(dropout, look_up(embedding_, tokens.ids, std::nullopt), kDecoderSites);
  for (std::int64_t layer = 0; layer < config_.shape.num_layers; ++layer) {
    x = run_block(x, [=, this, &attention](const at::Tensor& input) {
      const auto& b = decoder_[static_cast<std::size_t>(layer)];
      const auto site = kDecoderSites + kSitesPerBlock * (layer + 1);
      const auto h = norm(input, b.self_norm);
      const auto attended = attention.attend(layer, split(h, b.self.q), split(h, b.self.k),
                                             split(h, b.self.v), rule(decoder_bias_.get(), site));
      const auto y = input + drop(dropout, merged(attended, b.self.o), site + 1);
      const auto project = [&](const at::Tensor& states) {
        return std::pair{split(states, b.source.k), split(states, b.source.v)};
      };
      const auto read = attention.attend_source(layer, split(norm(y, b.source_norm), b.source.q),
                                                project, rule(nullptr, site + 2));
      const auto z = y + drop(dropout, merged(read, b.source.o), site + 3);
      return z + feed(z, b, dropout, site + 4);
    });
  }
  return drop(dropout, norm(x, decoder_norm_), kDecoderSites + 1) * config_.output_scale;
}

const at::Tensor& T5Model::output_weight() { return head_; }

std::vector<BlockStack> T5Model::stacks(std::int64_t length, bool on_gpu) const {
  const auto& s = config_.shape;
  const auto bytes = parameters_.element_bytes(), width = s.hidden_size * bytes;
  const auto inner = config_.inner_size * bytes;
  const auto norm = kept_by_rms_norm(s.hidden_size, bytes);
  // Biases and, in the encoder and over the source, no mask: always by products.
  const auto attention = kept_by_attention({.length = length,
                                            .heads = s.num_heads,
                                            .kv_heads = s.num_heads,
                                            .head_dim = s.head_dim,
                                            .element_bytes = bytes,
                                            .on_gpu = on_gpu,
                                            .is_causal = false,
                                            .has_dropout = has_dropout()});
  // Gated: gate, its GELU, the other half, and their product. Else ReLU's result, and what dropout
  // left of it.
  const std::int64_t num_inner = config_.gated ? 4 : has_dropout() ? 2 : 1;
  BlockStack encoder{.num_blocks = config_.num_encoder_layers,
                     .input = width,
                     .kept = 2 * norm + attention.of_token + num_inner * inner,
                     .kept_of_pair = attention.of_pair,
                     .widest = (config_.gated ? 2 : 1) * inner,
                     // The last norm, what dropout left of it, and its gradient, which is float32
                     // at least.
                     .kept_behind = norm + (has_dropout() ? width : 0) +
                                    s.hidden_size * std::max<std::int64_t>(4, bytes),
                     .largest_weight = config_.inner_size * s.hidden_size};
  auto decoder = encoder;
  decoder.num_blocks = s.num_layers;
  decoder.kept += norm + attention.of_token;
  decoder.kept_of_pair *= 2;
  decoder.kept_behind = norm;
  return {encoder, decoder};
}

}  // namespace hone::detail
