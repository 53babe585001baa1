#include "model/llama.hpp"

#include <ATen/TensorOperators.h>

#include <cmath>

#include "hone/core/model/layers.hpp"
#include "model/rope.hpp"

namespace hone::detail {
namespace {

std::string layer_prefix(std::int64_t layer) {
  return "model.layers." + std::to_string(layer) + ".";
}

std::vector<ParameterSpec> specs_of(const LlamaConfig& config) {
  const auto& s = config.shape;
  const auto q_width = s.num_heads * s.head_dim, kv_width = s.num_kv_heads * s.head_dim;
  std::vector<ParameterSpec> specs;
  const auto add = [&](const std::string& name, std::vector<std::int64_t> shape) {
    specs.push_back({name, std::move(shape), is_decayed(name)});
  };
  const auto add_linear = [&](const std::string& name, std::int64_t out, std::int64_t in,
                              bool bias) {
    add(name + ".weight", {out, in});
    if (bias) add(name + ".bias", {out});
  };
  add("model.embed_tokens.weight", {s.vocab_size, s.hidden_size});
  for (std::int64_t layer = 0; layer < s.num_layers; ++layer) {
    const auto prefix = layer_prefix(layer);
    add(prefix + "input_layernorm.weight", {s.hidden_size});
    add_linear(prefix + "self_attn.q_proj", q_width, s.hidden_size, config.attention_bias);
    add_linear(prefix + "self_attn.k_proj", kv_width, s.hidden_size, config.attention_bias);
    add_linear(prefix + "self_attn.v_proj", kv_width, s.hidden_size, config.attention_bias);
    add_linear(prefix + "self_attn.o_proj", s.hidden_size, q_width, config.attention_bias);
    add(prefix + "post_attention_layernorm.weight", {s.hidden_size});
    add_linear(prefix + "mlp.gate_proj", config.intermediate_size, s.hidden_size, config.mlp_bias);
    add_linear(prefix + "mlp.up_proj", config.intermediate_size, s.hidden_size, config.mlp_bias);
    add_linear(prefix + "mlp.down_proj", s.hidden_size, config.intermediate_size, config.mlp_bias);
  }
  add("model.norm.weight", {s.hidden_size});
  if (!config.tied) add("lm_head.weight", {s.vocab_size, s.hidden_size});
  return specs;
}

}  // namespace

LlamaConfig read_llama_config(const ModelConfig& config) {
  LlamaConfig llama;
  auto& s = llama.shape;
  s.model_type = config.model_type();
  s.vocab_size = config.require_positive({"vocab_size"});
  s.hidden_size = config.require_positive({"hidden_size"});
  s.num_layers = config.require_positive({"num_hidden_layers"});
  s.num_heads = config.require_positive({"num_attention_heads"});
  s.num_kv_heads = config.get<std::int64_t>({"num_key_value_heads"}, s.num_heads);
  s.head_dim = config.get<std::int64_t>({"head_dim"}, s.hidden_size / s.num_heads);
  const bool is_divided = config.get<std::int64_t>({"head_dim"}, 0) == 0;
  if (is_divided && s.hidden_size % s.num_heads != 0) {
    config.fail("num_attention_heads " + std::to_string(s.num_heads) +
                " does not divide hidden_size " + std::to_string(s.hidden_size) +
                ". Give such a model its head_dim");
  }
  s.max_positions = config.get<std::int64_t>({"max_position_embeddings"}, 2048);
  config.fill_token_ids(s);
  if (s.num_kv_heads <= 0 || s.num_heads % s.num_kv_heads != 0) {
    config.fail("num_key_value_heads must divide num_attention_heads");
  }
  if (config.get<bool>({"rope_interleaved"}, false)) {
    config.fail("rope_interleaved true is not supported");
  }
  const auto activation = config.get<std::string>({"hidden_act"}, "silu");
  if (activation != "silu") config.fail("hidden_act \"" + activation + "\" is not supported (silu)");
  llama.intermediate_size = config.require_positive({"intermediate_size"});
  llama.norm_eps = config.get<double>({"rms_norm_eps"}, 1e-6);
  llama.attention_bias = config.get<bool>({"attention_bias"}, false);
  llama.mlp_bias = config.get<bool>({"mlp_bias"}, false);
  llama.tied = config.get<bool>({"tie_word_embeddings"}, false);
  llama.attention_dropout = config.get_probability("attention_dropout", 0.0);
  llama.inverse_frequencies = inverse_frequencies(config, s.head_dim);
  return llama;
}

LlamaModel::LlamaModel(LlamaConfig config, const LoadOptions& options)
    : config_(std::move(config)),
      parameters_(specs_of(config_), at::TensorOptions{options.dtype}.device(options.device),
                  options.with_masters) {
  config_.inverse_frequencies = config_.inverse_frequencies.to(options.device);
  embedding_ = parameters_.at("model.embed_tokens.weight");
  norm_ = parameters_.at("model.norm.weight");
  head_ = config_.tied ? embedding_ : parameters_.at("lm_head.weight");
  for (std::int64_t layer = 0; layer < config_.shape.num_layers; ++layer) {
    blocks_.push_back(block(layer));
  }
}

LinearLayer LlamaModel::linear(const std::string& name) const {
  const auto bias = name + ".bias";
  return {parameters_.at(name + ".weight"),
          parameters_.contains(bias) ? parameters_.at(bias) : at::Tensor{}};
}

LlamaModel::Block LlamaModel::block(std::int64_t layer) const {
  const auto prefix = layer_prefix(layer);
  return {.input_norm = parameters_.at(prefix + "input_layernorm.weight"),
          .post_attention_norm = parameters_.at(prefix + "post_attention_layernorm.weight"),
          .qkv = {linear(prefix + "self_attn.q_proj"), linear(prefix + "self_attn.k_proj"),
                  linear(prefix + "self_attn.v_proj")},
          .o = linear(prefix + "self_attn.o_proj"),
          .gate_up = {linear(prefix + "mlp.gate_proj"), linear(prefix + "mlp.up_proj")},
          .down = linear(prefix + "mlp.down_proj")};
}

const at::Tensor& LlamaModel::output_weight() { return head_; }

at::Tensor LlamaModel::forward(const TokenInput& input_tokens, Attention& attention) {
  const auto& s = config_.shape;
  const auto tokens = input_tokens.ids.size(0);
  const auto rotary = rotary_table(input_tokens.positions, config_.inverse_frequencies,
                                   embedding_.scalar_type());
  const double scale = 1.0 / std::sqrt(static_cast<double>(s.head_dim));
  auto x = look_up(embedding_, input_tokens.ids, s.pad_id);
  for (std::int64_t layer = 0; layer < s.num_layers; ++layer) {
    x = run_block(x, [=, this, &s, &attention](const at::Tensor& input) {
      const auto& b = blocks_[static_cast<std::size_t>(layer)];
      const auto h = rms_norm(input, b.input_norm, config_.norm_eps);
      const auto qkv = linears_out_in(h, b.qkv);
      const auto q = rotate(qkv[0].view({tokens, s.num_heads, s.head_dim}), rotary);
      const auto k = rotate(qkv[1].view({tokens, s.num_kv_heads, s.head_dim}), rotary);
      const auto v = qkv[2].view({tokens, s.num_kv_heads, s.head_dim});
      const auto attended =
          attention.attend(layer, q, k, v,
                           {.scale = scale, .dropout = config_.attention_dropout, .dropout_site = layer});
      const auto y = input + linear_out_in(attended.view({tokens, s.num_heads * s.head_dim}),
                                           b.o.weight, b.o.bias);
      const auto m = rms_norm(y, b.post_attention_norm, config_.norm_eps);
      const auto gate_up = linears_out_in(m, b.gate_up);
      return y + linear_out_in(swiglu(gate_up[0], gate_up[1]), b.down.weight, b.down.bias);
    });
  }
  return rms_norm(x, norm_, config_.norm_eps);
}

std::vector<BlockStack> LlamaModel::stacks(std::int64_t length, bool on_gpu) const {
  const auto& s = config_.shape;
  const auto bytes = parameters_.element_bytes(), inner = config_.intermediate_size * bytes;
  const auto norm = kept_by_rms_norm(s.hidden_size, bytes);
  const auto attention = kept_by_attention({.length = length,
                                            .heads = s.num_heads,
                                            .kv_heads = s.num_kv_heads,
                                            .head_dim = s.head_dim,
                                            .element_bytes = bytes,
                                            .on_gpu = on_gpu,
                                            .has_dropout = config_.attention_dropout > 0});
  return {{.num_blocks = s.num_layers,
           .input = s.hidden_size * bytes,
           // Two norms, attention, and of the gated layer: gate, up, and what becomes of them; on
           // GPUs the gate's SiLU too.
           .kept = 2 * norm + attention.of_token + (on_gpu ? 4 : 3) * inner,
           .kept_of_pair = attention.of_pair,
           .widest = 2 * inner,
           // The last norm, sines and cosines.
           .kept_behind = norm + s.head_dim * bytes,
           .largest_weight = config_.intermediate_size * s.hidden_size}};
}

}  // namespace hone::detail
