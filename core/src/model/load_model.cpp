// Hugging Face folders in and out.
#include <ATen/ops/from_blob.h>
#include <c10/core/GradMode.h>

#include <algorithm>
#include <set>

#include "hone/core/data/detail/json_file.hpp"
#include "hone/core/error.hpp"
#include "hone/core/files/published_file.hpp"
#include "hone/core/hf/model_folder.hpp"
#include "hone/core/hf/safetensors.hpp"
#include "hone/core/model/language_model.hpp"
#include "hone/core/printable.hpp"
#include "model/gpt2.hpp"
#include "model/llama.hpp"
#include "model/model_config.hpp"
#include "model/t5.hpp"

namespace hone {
namespace {

using detail::ModelConfig;

constexpr const char* kSupported = "gpt2, llama, t5";
constexpr const char* kConfigFile = "config.json";
/// What a Hugging Face folder has beside the weights.
constexpr const char* kSmallFiles[] = {kConfigFile, "generation_config.json", "tokenizer.json",
                                       "tokenizer_config.json", "special_tokens_map.json",
                                       "chat_template.jinja", "vocab.json", "merges.txt",
                                       "added_tokens.json", "tokenizer.model"};

/// Stored twice where the head is tied but its weight was saved all the same and differs:
/// transformers 5 then keeps two tensors, and so does hone.
std::unique_ptr<LanguageModel> make_model(const ModelConfig& config, const LoadOptions& options,
                                          bool untie) {
  const auto type = config.model_type();
  if (type == "llama") {
    auto llama = detail::read_llama_config(config);
    llama.tied = llama.tied && !untie;
    return std::make_unique<detail::LlamaModel>(std::move(llama), options);
  }
  if (type == "gpt2") {
    auto gpt2 = detail::read_gpt2_config(config);
    gpt2.tied = gpt2.tied && !untie;
    return std::make_unique<detail::Gpt2Model>(std::move(gpt2), options);
  }
  if (type == "t5") {
    auto t5 = detail::read_t5_config(config);
    t5.tied = t5.tied && !untie;
    return std::make_unique<detail::T5Model>(std::move(t5), options);
  }
  config.fail("model_type \"" + type + "\" is not supported (" + kSupported +
              "). Nothing was loaded");
}

bool ends_with_any(std::string_view name, std::initializer_list<const char*> ends) {
  return std::any_of(ends.begin(), ends.end(), [&](const char* end) { return name.ends_with(end); });
}

/// What older files carry and no model reads: buffers, copies of T5's embedding, and a bias of its
/// cross-attention that was never used.
bool is_known_surplus(std::string_view name) {
  return ends_with_any(name, {".rotary_emb.inv_freq", ".attn.bias", ".attn.masked_bias",
                              "encoder.embed_tokens.weight", "decoder.embed_tokens.weight",
                              ".EncDecAttention.relative_attention_bias.weight"});
}

/// GPT-2 files of the hub lack the prefix that saved language models have.
const SafetensorsEntry* find_entry(const SafetensorsFolder& files, const std::string& name) {
  if (files.contains(name)) return &files.at(name);
  constexpr std::string_view kPrefix = "transformer.";
  if (!name.starts_with(kPrefix)) return nullptr;
  const auto bare = name.substr(kPrefix.size());
  return files.contains(bare) ? &files.at(bare) : nullptr;
}

bool same_bytes(const SafetensorsEntry& a, const SafetensorsEntry& b) {
  return a.dtype == b.dtype && a.shape == b.shape && std::ranges::equal(a.bytes, b.bytes);
}

bool must_untie(const SafetensorsFolder& files) {
  if (!files.contains("lm_head.weight")) return false;
  const auto& head = files.at("lm_head.weight");
  for (const char* name :
       {"model.embed_tokens.weight", "transformer.wte.weight", "shared.weight"}) {
    if (const auto* embedding = find_entry(files, name)) return !same_bytes(head, *embedding);
  }
  return false;
}

at::ScalarType scalar_type(DType dtype) {
  switch (dtype) {
    case DType::UInt8: return at::kByte;
    case DType::Int64: return at::kLong;
    case DType::Float32: return at::kFloat;
    case DType::Float64: return at::kDouble;
    case DType::BFloat16: return at::kBFloat16;
    case DType::Float16: return at::kHalf;
  }
  return at::kFloat;
}

DType dtype_of(at::ScalarType type) {
  switch (type) {
    case at::kDouble: return DType::Float64;
    case at::kBFloat16: return DType::BFloat16;
    case at::kHalf: return DType::Float16;
    default: return DType::Float32;
  }
}

std::string text_of(at::IntArrayRef shape) {
  std::string text = "[";
  for (const auto size : shape) text += (text.size() > 1 ? "," : "") + std::to_string(size);
  return text + "]";
}

/// Copies every stored tensor into its parameter; collects all that does not fit before it throws.
void fill_parameters(ParameterStore& parameters, const SafetensorsFolder& files,
                     const std::filesystem::path& folder) {
  const c10::NoGradGuard no_grad;
  const bool tied = !parameters.contains("lm_head.weight");
  std::string problems;
  std::set<std::string_view> used;
  for (std::size_t i = 0; i < parameters.all().size(); ++i) {
    const auto& parameter = parameters.all()[i];
    const auto* entry = find_entry(files, parameter.name);
    if (entry == nullptr) {
      problems += "\n  missing " + parameter.name;
      continue;
    }
    used.insert(entry->name);
    if (parameter.value.sizes() != at::IntArrayRef{entry->shape}) {
      problems += "\n  " + entry->name + " has shape " + text_of(entry->shape) + ", expected " +
                  text_of(parameter.value.sizes());
      continue;
    }
    parameters.trained(i).copy_(at::from_blob(const_cast<std::byte*>(entry->bytes.data()), entry->shape,
                               scalar_type(entry->dtype)));
  }
  for (const auto& entry : files.entries()) {
    const bool alias = tied && entry.name == "lm_head.weight";
    if (!used.contains(entry.name) && !alias && !is_known_surplus(entry.name)) {
      problems += "\n  unknown " + entry.name;
    }
  }
  for (const auto& entry : files.unsupported()) {
    if (!is_known_surplus(entry.name)) problems += "\n  unknown " + entry.name + " of type " + entry.dtype;
  }
  if (!problems.empty()) {
    throw InputError{folder.string() + ": the weights do not fit config.json:" + problems};
  }
  parameters.round_masters();
}

const char* config_name(at::ScalarType type) {
  switch (type) {
    case at::kDouble: return "float64";
    case at::kBFloat16: return "bfloat16";
    case at::kHalf: return "float16";
    default: return "float32";
  }
}

/// Makes a copied config.json true of the weights beside it: their type, and a head of its own
/// (families differ in their default, so the key is written out).
void fit_config(LanguageModel& model, const std::filesystem::path& config_file,
                at::ScalarType dtype) {
  auto config = detail::parse_json_file(read_text_file(config_file), config_file);
  const auto before = config;
  for (const char* key : {"torch_dtype", "dtype"}) {
    if (config.contains(key)) {
      config[key] = config_name(dtype);
    }
  }
  const bool untied = model.parameters().contains("lm_head.weight");
  if (untied && config.value("tie_word_embeddings", true)) {
    config["tie_word_embeddings"] = false;
    // Of T5 the flag also says whether hidden states are scaled before the head: they still are.
    if (model.shape().model_type == "t5" && !config.contains("scale_decoder_outputs")) {
      config["scale_decoder_outputs"] = true;
    }
  }
  if (config == before) return;
  write_durably(config_file, config.dump(2) + '\n');
}

/// Of two config.json, but for what fit_config() sets and what says who wrote it.
std::vector<std::string> changed_keys(const nlohmann::json& then, const nlohmann::json& now) {
  std::set<std::string> may_differ{"torch_dtype", "dtype", "tie_word_embeddings", "_name_or_path", "transformers_version"};
  if (!now.contains("scale_decoder_outputs")) may_differ.insert("scale_decoder_outputs");
  std::set<std::string> keys;
  for (const auto* config : {&then, &now}) {
    for (const auto& [key, value] : config->items()) keys.insert(key);
  }
  const auto text_of = [](const nlohmann::json& config, const std::string& key) {
    return config.contains(key) ? config.at(key).dump() : "not set";
  };
  std::vector<std::string> changes;
  for (const auto& key : keys) {
    const auto before = text_of(then, key), after = text_of(now, key);
    if (may_differ.contains(key) || before == after) continue;
    changes.push_back(printable(key) + " of config.json was " + printable(before) + " and is " + printable(after) +
                      " now");
  }
  return changes;
}

}  // namespace

std::unique_ptr<LanguageModel> load_model(const std::filesystem::path& folder,
                                          const LoadOptions& options) {
  require_model_folder(folder);
  const ModelConfig config{folder};
  // The configuration is judged first: it names an unsupported model without reading its weights.
  auto model = make_model(config, options, false);
  const SafetensorsFolder files{folder};
  if (!model->parameters().contains("lm_head.weight") && must_untie(files)) {
    model = make_model(config, options, true);
  }
  fill_parameters(model->parameters(), files, folder);
  return model;
}

std::unique_ptr<LanguageModel> build_model(const std::filesystem::path& folder,
                                           const LoadOptions& options) {
  require_model_folder(folder, ModelFiles::Config);
  if (!std::filesystem::exists(folder / "config.json")) {
    throw MissingInputError{(folder / "config.json").string() +
                            ": no such file. It is all that is read of the model here"};
  }
  return make_model(ModelConfig{folder}, options, false);
}

std::unique_ptr<LanguageModel> outline_model(const std::filesystem::path& folder,
                                             at::ScalarType dtype) {
  return build_model(folder, {.dtype = dtype, .device = at::kMeta});
}

ModelSizes sizes_of(LanguageModel& model, std::int64_t length, bool on_gpu) {
  const auto& shape = model.shape();
  ModelSizes sizes{.num_parameters = model.parameters().num_elements(),
                   .vocab_size = shape.vocab_size,
                   .hidden_size = shape.hidden_size,
                   .stacks = model.stacks(length, on_gpu)};
  for (const auto& group : model.parameters().groups()) sizes.flat_elements += group.values.numel();
  // A decoder that reads a source has its keys and values in a cache too.
  const std::int64_t caches = shape.is_encoder_decoder ? 2 : 1;
  sizes.cache_elements = caches * shape.num_layers * 2 * shape.num_kv_heads * shape.head_dim;
  return sizes;
}

std::vector<std::string> changed_model_files(const std::filesystem::path& source_folder,
                                             const std::filesystem::path& copy) {
  if (!std::filesystem::exists(copy / kConfigFile)) return {};  // none was made
  const auto config_of = [](const std::filesystem::path& folder) {
    return detail::parse_json_file(read_text_file(folder / kConfigFile), folder / kConfigFile);
  };
  auto changes = changed_keys(config_of(copy), config_of(source_folder));
  for (const std::string name : kSmallFiles) {
    if (name == kConfigFile) continue;
    const bool was = std::filesystem::exists(copy / name), is = std::filesystem::exists(source_folder / name);
    if (was != is) changes.push_back(name + (is ? " is new" : " is gone"));
    if (!was || !is || read_text_file(source_folder / name) == read_text_file(copy / name)) continue;
    changes.push_back(name + " is another");
  }
  return changes;
}

void copy_model_files(LanguageModel& model, const std::filesystem::path& source_folder,
                      const std::filesystem::path& folder, std::optional<at::ScalarType> dtype) {
  namespace fs = std::filesystem;
  fs::create_directories(folder);
  for (const char* name : kSmallFiles) {
    if (!fs::exists(source_folder / name) || fs::equivalent(source_folder, folder)) continue;
    fs::copy_file(source_folder / name, folder / name, fs::copy_options::overwrite_existing);
    // The next save must be able to replace what came from a read-only folder.
    fs::permissions(folder / name, fs::perms::owner_write, fs::perm_options::add);
  }
  fit_config(model, folder / kConfigFile,
             dtype.value_or(model.parameters().trained(0).scalar_type()));
}

void save_model(LanguageModel& model, const std::filesystem::path& source_folder,
                const std::filesystem::path& folder, const SaveOptions& options) {
  copy_model_files(model, source_folder, folder, options.dtype);
  std::vector<SafetensorsEntry> entries;
  std::vector<at::Tensor> on_host;  // keeps copies from a device alive until they are written
  const auto& parameters = model.parameters();
  for (std::size_t i = 0; i < parameters.all().size(); ++i) {
    const auto trained = parameters.trained(i).detach();
    on_host.push_back(trained.to(at::kCPU, options.dtype.value_or(trained.scalar_type())));
    const auto& value = on_host.back();
    entries.push_back({parameters.all()[i].name, dtype_of(value.scalar_type()), value.sizes().vec(),
                       {static_cast<const std::byte*>(value.const_data_ptr()), value.nbytes()}});
  }
  write_safetensors(folder, entries, options.max_shard_bytes);
}

}  // namespace hone
