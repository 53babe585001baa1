#pragma once

#include <filesystem>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include <nlohmann/json.hpp>

namespace hone::detail {

/// What the files beside tokenizer.json say about it.
struct TokenizerConfig {
  /// Named special tokens: "bos_token" -> "<s>". The chat template sees them as variables.
  std::map<std::string, std::string> named_tokens;
  /// More special tokens, without a name.
  std::vector<std::string> extra_tokens;
  /// `added_tokens_decoder` in id order, each with all of its flags.
  nlohmann::ordered_json added_tokens = nlohmann::ordered_json::array();
  bool split_special_tokens = false;
  bool clean_up_tokenization_spaces = false;
  std::optional<std::string> chat_template;
  /// Ids that generation_config.json or config.json give: "eos_token_id" -> 2.
  std::map<std::string, std::int64_t> model_ids;
};

/// Throws: InputError naming file and key where one is malformed.
TokenizerConfig read_tokenizer_config(const std::filesystem::path& folder);

}  // namespace hone::detail
