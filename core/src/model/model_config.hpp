#pragma once

#include <filesystem>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "hone/core/model/language_model.hpp"

namespace hone::detail {

/// config.json of a model folder with the place for error messages.
class ModelConfig {
 public:
  /// Throws: MissingInputError, InputError.
  explicit ModelConfig(const std::filesystem::path& folder);

  std::string model_type() const;

  /// The value under the first of `keys` that is present and not null, else `fallback`.
  template <typename T>
  T get(std::initializer_list<const char*> keys, T fallback) const {
    for (const char* key : keys) {
      const auto found = json_.find(key);
      if (found != json_.end() && !found->is_null()) return convert<T>(*found, key);
    }
    return fallback;
  }

  /// A positive integer that has no default. Throws: InputError naming the key.
  std::int64_t require_positive(std::initializer_list<const char*> keys) const;

  /// A dropout rate. Throws: InputError for one outside [0, 1).
  double get_probability(const char* key, double fallback) const;

  /// bos, pad and eos ids; generation_config.json wins for eos.
  void fill_token_ids(ModelShape& shape) const;

  const nlohmann::json& json() const { return json_; }
  [[noreturn]] void fail(const std::string& what) const;

 private:
  template <typename T>
  T convert(const nlohmann::json& value, const char* key) const {
    try {
      return value.get<T>();
    } catch (const nlohmann::json::exception&) {
      fail(std::string{key} + " has the wrong type: " + value.dump());
    }
  }

  std::filesystem::path path_;
  nlohmann::json json_;
  nlohmann::json generation_json_;
};

/// Whether weight decay applies to the parameter of that Hugging Face name.
/// Source: transformers' get_parameter_names with its forbidden patterns, plus LayerNorm modules.
bool is_decayed(std::string_view name);

}  // namespace hone::detail
