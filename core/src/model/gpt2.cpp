#include "model/gpt2.hpp"

#include <ATen/TensorOperators.h>
#include <ATen/ops/gelu.h>
#include <ATen/ops/layer_norm.h>
#include <ATen/ops/relu.h>

#include <algorithm>
#include <cmath>
#include <map>

#include "hone/core/model/layers.hpp"

namespace hone::detail {
namespace {

/// Places where elements are dropped: the embedding, then three a block.
constexpr std::int64_t kEmbeddingSite = 0;
constexpr std::int64_t kSitesPerBlock = 3;

std::string layer_prefix(std::int64_t layer) {
  return "transformer.h." + std::to_string(layer) + ".";
}

std::vector<ParameterSpec> specs_of(const Gpt2Config& config) {
  const auto& s = config.shape;
  const auto width = s.hidden_size;
  std::vector<ParameterSpec> specs;
  const auto add = [&](const std::string& name, std::vector<std::int64_t> shape) {
    specs.push_back({name, std::move(shape), is_decayed(name)});
  };
  const auto add_conv = [&](const std::string& name, std::int64_t in, std::int64_t out) {
    add(name + ".weight", {in, out});
    add(name + ".bias", {out});
  };
  const auto add_norm = [&](const std::string& name) {
    add(name + ".weight", {width});
    add(name + ".bias", {width});
  };
  add("transformer.wte.weight", {s.vocab_size, width});
  add("transformer.wpe.weight", {s.max_positions, width});
  for (std::int64_t layer = 0; layer < s.num_layers; ++layer) {
    const auto prefix = layer_prefix(layer);
    add_norm(prefix + "ln_1");
    add_conv(prefix + "attn.c_attn", width, 3 * width);
    add_conv(prefix + "attn.c_proj", width, width);
    add_norm(prefix + "ln_2");
    add_conv(prefix + "mlp.c_fc", width, config.inner_size);
    add_conv(prefix + "mlp.c_proj", config.inner_size, width);
  }
  add_norm("transformer.ln_f");
  if (!config.tied) add("lm_head.weight", {s.vocab_size, width});
  return specs;
}

}  // namespace

Gpt2Config read_gpt2_config(const ModelConfig& config) {
  Gpt2Config gpt2;
  auto& s = gpt2.shape;
  s.model_type = config.model_type();
  s.vocab_size = config.require_positive({"vocab_size"});
  s.hidden_size = config.require_positive({"n_embd", "hidden_size"});
  s.num_layers = config.require_positive({"n_layer", "num_hidden_layers"});
  s.num_heads = config.require_positive({"n_head", "num_attention_heads"});
  s.num_kv_heads = s.num_heads;
  s.max_positions = config.require_positive({"n_positions", "max_position_embeddings"});
  s.has_position_table = true;
  if (s.hidden_size % s.num_heads != 0) {
    config.fail("n_head " + std::to_string(s.num_heads) + " does not divide n_embd " +
                std::to_string(s.hidden_size));
  }
  s.head_dim = s.hidden_size / s.num_heads;
  config.fill_token_ids(s);
  gpt2.inner_size = config.get<std::int64_t>({"n_inner"}, 4 * s.hidden_size);
  gpt2.norm_eps = config.get<double>({"layer_norm_epsilon"}, 1e-5);
  gpt2.activation = config.get<std::string>({"activation_function"}, "gelu_new");
  gpt2.scale_by_head_dim = config.get<bool>({"scale_attn_weights"}, true);
  gpt2.scale_by_inverse_layer = config.get<bool>({"scale_attn_by_inverse_layer_idx"}, false);
  gpt2.tied = config.get<bool>({"tie_word_embeddings"}, true);
  gpt2.embedding_dropout = config.get_probability("embd_pdrop", 0.1);
  gpt2.attention_dropout = config.get_probability("attn_pdrop", 0.1);
  gpt2.residual_dropout = config.get_probability("resid_pdrop", 0.1);
  static const std::map<std::string, int> known{
      {"gelu_new", 0}, {"gelu_pytorch_tanh", 0}, {"gelu", 0}, {"relu", 0}};
  if (!known.contains(gpt2.activation)) {
    config.fail("activation_function \"" + gpt2.activation +
                "\" is not supported (gelu_new, gelu_pytorch_tanh, gelu, relu)");
  }
  return gpt2;
}

Gpt2Model::Gpt2Model(Gpt2Config config, const LoadOptions& options)
    : config_(std::move(config)),
      parameters_(specs_of(config_), at::TensorOptions{options.dtype}.device(options.device),
                  options.with_masters) {
  token_embedding_ = parameters_.at("transformer.wte.weight");
  position_embedding_ = parameters_.at("transformer.wpe.weight");
  head_ = config_.tied ? token_embedding_ : parameters_.at("lm_head.weight");
  final_norm_ = affine("transformer.ln_f");
  for (std::int64_t layer = 0; layer < config_.shape.num_layers; ++layer) {
    const auto prefix = layer_prefix(layer);
    blocks_.push_back({.norm_1 = affine(prefix + "ln_1"),
                       .attention = affine(prefix + "attn.c_attn"),
                       .attention_out = affine(prefix + "attn.c_proj"),
                       .norm_2 = affine(prefix + "ln_2"),
                       .mlp = affine(prefix + "mlp.c_fc"),
                       .mlp_out = affine(prefix + "mlp.c_proj")});
  }
}

Gpt2Model::Affine Gpt2Model::affine(const std::string& name) const {
  return {parameters_.at(name + ".weight"), parameters_.at(name + ".bias")};
}

at::Tensor Gpt2Model::norm(const at::Tensor& x, const Affine& affine) const {
  return at::layer_norm(x, {config_.shape.hidden_size}, affine.weight, affine.bias,
                        config_.norm_eps);
}

at::Tensor Gpt2Model::activate(const at::Tensor& x) const {
  if (config_.activation == "relu") return at::relu(x);
  return at::gelu(x, config_.activation == "gelu" ? "none" : "tanh");
}

double Gpt2Model::attention_scale(std::int64_t layer) const {
  double scale = 1.0;
  if (config_.scale_by_head_dim) scale /= std::sqrt(static_cast<double>(config_.shape.head_dim));
  if (config_.scale_by_inverse_layer) scale /= static_cast<double>(layer + 1);
  return scale;
}

const at::Tensor& Gpt2Model::output_weight() { return head_; }

at::Tensor Gpt2Model::forward(const TokenInput& input_tokens, Attention& attention) {
  const auto& s = config_.shape;
  const auto tokens = input_tokens.ids.size(0);
  const auto* dropout = input_tokens.dropout;
  const auto linear = [](const at::Tensor& x, const Affine& a) {
    return linear_in_out(x, a.weight, a.bias);
  };
  auto x = dropped(dropout,
                   look_up(token_embedding_, input_tokens.ids, std::nullopt) +
                       look_up(position_embedding_, input_tokens.positions, std::nullopt),
                   config_.embedding_dropout, kEmbeddingSite);
  for (std::int64_t layer = 0; layer < s.num_layers; ++layer) {
    x = run_block(x, [=, this, &s, &attention](const at::Tensor& input) {
      const auto& b = blocks_[static_cast<std::size_t>(layer)];
      const auto qkv = linear(norm(input, b.norm_1), b.attention)
                           .view({tokens, 3, s.num_heads, s.head_dim})
                           .unbind(1);
      const auto site = kSitesPerBlock * (layer + 1);
      const auto residual = [&](const at::Tensor& x, std::int64_t offset) {
        return dropped(dropout, x, config_.residual_dropout, site + offset);
      };
      const auto attended = attention.attend(layer, qkv[0], qkv[1], qkv[2],
                                             {.scale = attention_scale(layer),
                                              .dropout = config_.attention_dropout,
                                              .dropout_site = site});
      const auto y = input + residual(linear(attended.view({tokens, s.hidden_size}), b.attention_out), 1);
      return y + residual(linear(activate(linear(norm(y, b.norm_2), b.mlp)), b.mlp_out), 2);
    });
  }
  return norm(x, final_norm_);
}

std::vector<BlockStack> Gpt2Model::stacks(std::int64_t length, bool on_gpu) const {
  const auto& s = config_.shape;
  const auto bytes = parameters_.element_bytes(), width = s.hidden_size * bytes;
  const auto inner = config_.inner_size * bytes;
  const bool has_dropout = config_.attention_dropout > 0;
  const auto attention = kept_by_attention({.length = length,
                                            .heads = s.num_heads,
                                            .kv_heads = s.num_heads,
                                            .head_dim = s.head_dim,
                                            .element_bytes = bytes,
                                            .on_gpu = on_gpu,
                                            .has_dropout = has_dropout});
  // Keys and values are views that keep the queries beside them, of which weights that are dropped
  // have a scaled copy.
  const auto queries = has_dropout ? width : 0;
  const bool is_relu = config_.activation == "relu";  // which needs its result alone
  return {{.num_blocks = s.num_layers,
           .input = width,
           // In and out of two norms, attention, in and out of the activation.
           .kept = 4 * width + attention.of_token + queries + (is_relu ? 1 : 2) * inner,
           .kept_of_pair = attention.of_pair,
           .widest = inner,
           .kept_behind = 2 * width,
           .largest_weight = config_.inner_size * s.hidden_size}};
}

}  // namespace hone::detail
