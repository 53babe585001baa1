#include "model/model_config.hpp"

#include "hone/core/data/detail/json_file.hpp"
#include "hone/core/error.hpp"
#include "hone/core/hf/model_folder.hpp"

namespace hone::detail {
namespace {

nlohmann::json read_json(const std::filesystem::path& path) {
  if (!std::filesystem::exists(path)) {
    throw MissingInputError{path.string() +
                            ": no such file. A model is a Hugging Face folder with config.json, "
                            "model.safetensors and tokenizer.json"};
  }
  return parse_json_file(read_text_file(path), path);
}

std::vector<std::int64_t> one_or_many(const nlohmann::json& value) {
  if (value.is_number_integer()) return {value.get<std::int64_t>()};
  if (value.is_array()) return value.get<std::vector<std::int64_t>>();
  return {};
}

std::string lower(std::string_view text) {
  std::string out{text};
  for (char& c : out) c = static_cast<char>(std::tolower(static_cast<unsigned char>(c)));
  return out;
}

bool forbids_decay(std::string_view segment) {
  return segment == "norm" || segment.ends_with("_norm") || segment.starts_with("ln_");
}

}  // namespace

ModelConfig::ModelConfig(const std::filesystem::path& folder)
    : path_(folder / "config.json"), json_(read_json(path_)) {
  const auto generation = folder / "generation_config.json";
  if (std::filesystem::exists(generation)) generation_json_ = read_json(generation);
}

void ModelConfig::fail(const std::string& what) const {
  throw InputError{path_.string() + ": " + what};
}

std::string ModelConfig::model_type() const { return get<std::string>({"model_type"}, ""); }

std::int64_t ModelConfig::require_positive(std::initializer_list<const char*> keys) const {
  const auto value = get<std::int64_t>(keys, 0);
  if (value <= 0) fail(std::string{*keys.begin()} + " must be a whole number > 0");
  return value;
}

double ModelConfig::get_probability(const char* key, double fallback) const {
  const auto value = get<double>({key}, fallback);
  if (value < 0 || value >= 1) fail(std::string{key} + " must be in [0, 1), is " + std::to_string(value));
  return value;
}

void ModelConfig::fill_token_ids(ModelShape& shape) const {
  const auto id = [&](const char* key) -> std::optional<std::int64_t> {
    const auto ids = one_or_many(json_.value(key, nlohmann::json{}));
    if (ids.empty()) return std::nullopt;
    return ids.front();
  };
  shape.bos_id = id("bos_token_id");
  shape.pad_id = id("pad_token_id");
  shape.eos_ids = one_or_many(json_.value("eos_token_id", nlohmann::json{}));
  if (generation_json_.is_object()) {
    const auto ids = one_or_many(generation_json_.value("eos_token_id", nlohmann::json{}));
    if (!ids.empty()) shape.eos_ids = ids;
  }
}

bool is_decayed(std::string_view name) {
  const auto text = lower(name);
  for (const char* word : {"bias", "layernorm", "rmsnorm"}) {
    if (text.find(word) != std::string::npos) return false;
  }
  for (std::size_t begin = 0; begin <= text.size();) {
    const auto end = std::min(text.find('.', begin), text.size());
    if (forbids_decay(std::string_view{text}.substr(begin, end - begin))) return false;
    begin = end + 1;
  }
  return true;
}

}  // namespace hone::detail
