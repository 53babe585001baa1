#include "support/fixture_model.hpp"

#include <algorithm>
#include <cmath>
#include <span>
#include <string>

#include "hone/core/hf/safetensors.hpp"
#include "hone/core/keyed_random.hpp"
#include "hone/core/model/language_model.hpp"

namespace hone::testing {
namespace {

bool is_norm_weight(const std::string& name) {
  const auto has = [&](const char* part) { return name.find(part) != std::string::npos; };
  return (has("norm") || has(".ln_")) && name.ends_with("weight");
}

/// One stored tensor of the fixture.
struct Stored {
  std::string name;
  std::vector<std::int64_t> shape;
  std::vector<float> values;
};

void fill_values(Stored& tensor, std::size_t place, Fill fill, std::uint64_t seed) {
  const KeyedRandom random{seed, place};
  const double offset = is_norm_weight(tensor.name) ? 1.0 : 0.0;
  for (std::size_t j = 0; j < tensor.values.size(); ++j) {
    const double value =
        fill == Fill::Wave
            ? 0.1 * std::sin(0.37 * static_cast<double>(j) + 1.3 * static_cast<double>(place))
            : 0.6 * (random.uniform(j) - 0.5);
    tensor.values[j] = static_cast<float>(value + offset);
  }
}

/// The parameters that the configuration asks for, in the order of their names.
std::vector<Stored> tensors_of(const std::filesystem::path& folder) {
  std::vector<Stored> tensors;
  const auto model = build_model(folder);
  for (const auto& parameter : model->parameters().all()) {
    tensors.push_back({parameter.name, parameter.value.sizes().vec(),
                       std::vector<float>(static_cast<std::size_t>(parameter.value.numel()))});
  }
  std::ranges::sort(tensors, {}, &Stored::name);
  return tensors;
}

}  // namespace

nlohmann::json llama_config() {
  return {{"model_type", "llama"},        {"vocab_size", 37},
          {"hidden_size", 16},            {"intermediate_size", 24},
          {"num_hidden_layers", 2},       {"num_attention_heads", 4},
          {"num_key_value_heads", 2},     {"max_position_embeddings", 64},
          {"rms_norm_eps", 1e-5},         {"rope_theta", 10000.0},
          {"tie_word_embeddings", false}, {"pad_token_id", 0},
          {"bos_token_id", 1},            {"eos_token_id", 2}};
}

nlohmann::json llama3_config() {
  auto config = llama_config();
  config["tie_word_embeddings"] = true;
  config["rope_theta"] = 5e5;
  config["rope_scaling"] = {{"rope_type", "llama3"},
                            {"factor", 8.0},
                            {"low_freq_factor", 1.0},
                            {"high_freq_factor", 4.0},
                            {"original_max_position_embeddings", 16}};
  return config;
}

nlohmann::json gpt2_config() {
  return {{"model_type", "gpt2"}, {"vocab_size", 37}, {"n_embd", 16},  {"n_inner", 64},
          {"n_layer", 2},         {"n_head", 4},      {"n_positions", 64},
          {"layer_norm_epsilon", 1e-5},               {"activation_function", "gelu_new"},
          {"resid_pdrop", 0.0},   {"embd_pdrop", 0.0}, {"attn_pdrop", 0.0},
          {"pad_token_id", 0},    {"bos_token_id", 1}, {"eos_token_id", 2}};
}

nlohmann::json t5_config() {
  return {{"model_type", "t5"},  {"vocab_size", 37},
          {"d_model", 16},       {"d_kv", 4},
          {"d_ff", 24},          {"num_layers", 2},
          {"num_heads", 4},      {"relative_attention_num_buckets", 8},
          {"dropout_rate", 0.0}, {"relative_attention_max_distance", 12},
          {"pad_token_id", 0},   {"eos_token_id", 1},
          {"layer_norm_epsilon", 1e-6}, {"decoder_start_token_id", 0},
          {"feed_forward_proj", "relu"}, {"tie_word_embeddings", true}};
}

nlohmann::json t5_gated_config() {
  auto config = t5_config();
  config["feed_forward_proj"] = "gated-gelu";
  config["tie_word_embeddings"] = false;
  return config;
}

nlohmann::json config_named(const std::string& name) {
  auto config = name.starts_with("gpt2") ? gpt2_config()
                : name.starts_with("t5") ? t5_gated_config()
                                         : llama3_config();
  if (name.ends_with("_dropout")) {
    for (const char* key : {"resid_pdrop", "embd_pdrop", "attn_pdrop", "dropout_rate"}) {
      config[key] = 0.1;
    }
  }
  return config;
}

FixtureModel::FixtureModel(const nlohmann::json& config, Fill fill, std::uint64_t seed) {
  folder_.write("config.json", config.dump(2));
  auto tensors = tensors_of(folder());
  std::vector<SafetensorsEntry> entries;
  for (std::size_t k = 0; k < tensors.size(); ++k) {
    fill_values(tensors[k], k, fill, seed);
    entries.push_back({tensors[k].name, DType::Float32, tensors[k].shape,
                       std::as_bytes(std::span{tensors[k].values})});
  }
  write_safetensors(folder(), entries);
}

std::vector<std::vector<std::int64_t>> fixture_sequences() {
  return {{1, 5, 9, 13, 17, 21, 25, 2},
          {1, 6, 11, 16, 3, 2},
          {1, 4, 2},
          {1, 30, 31, 32, 33, 34, 35, 36, 2}};
}

std::vector<std::vector<std::int64_t>> ragged_sequences(std::int64_t count, std::int64_t longest,
                                                        std::uint64_t seed) {
  std::vector<std::vector<std::int64_t>> sequences;
  for (std::int64_t i = 0; i < count; ++i) {
    const KeyedRandom random{seed, static_cast<std::uint64_t>(i)};
    const auto drawn = 2 + static_cast<std::int64_t>(random.bits(0) % (longest - 1));
    const auto length = i == 0 ? longest : i == 1 ? 2 : drawn;
    auto& sequence = sequences.emplace_back();
    for (std::int64_t t = 0; t < length; ++t) {
      sequence.push_back(3 + static_cast<std::int64_t>(random.bits(1 + t) % 34));
    }
  }
  return sequences;
}

}  // namespace hone::testing
