#include "tokenizer_config.hpp"

#include <charconv>
#include <string_view>

#include "hone/core/data/detail/json_file.hpp"
#include "hone/core/error.hpp"
#include "hone/core/hf/model_folder.hpp"

namespace hone::detail {
namespace {

using Json = nlohmann::ordered_json;

/// The object in `file`, or an empty one where there is no such file.
Json read_object(const std::filesystem::path& file) {
  if (!std::filesystem::exists(file)) return Json::object();
  return parse_json_file(read_text_file(file), file);
}

/// A token is a text, or an object with its text under "content"; null means that there is none.
std::optional<std::string> token_text(const Json& value) {
  if (value.is_string()) return value.get<std::string>();
  if (value.is_object() && value.contains("content") && value["content"].is_string()) {
    return value["content"].get<std::string>();
  }
  return std::nullopt;
}

bool flag(const Json& config, std::string_view key) {
  const auto found = config.find(key);
  return found != config.end() && found->is_boolean() && found->get<bool>();
}

void read_extra_tokens(const Json& config, std::string_view key, TokenizerConfig& result) {
  const auto found = config.find(key);
  if (found == config.end()) return;
  for (const auto& [name, value] : found->items()) {
    const auto text = token_text(value);
    if (!text) continue;
    if (found->is_object()) {
      result.named_tokens[name] = *text;
    } else {
      result.extra_tokens.push_back(*text);
    }
  }
}

void read_special_tokens(const Json& config, TokenizerConfig& result) {
  for (const auto& [key, value] : config.items()) {
    if (!std::string_view{key}.ends_with("_token")) continue;
    if (const auto text = token_text(value)) {
      result.named_tokens[key] = *text;
    } else if (value.is_null()) {
      result.named_tokens.erase(key);
    }
  }
  // The newer name wins; some folders carry both.
  const bool renamed = config.contains("extra_special_tokens") &&
                       !config["extra_special_tokens"].empty();
  read_extra_tokens(config, renamed ? "extra_special_tokens" : "additional_special_tokens", result);
}

/// Fills in the flags that a file may leave out, with the defaults of the reference.
Json complete_token(const Json& token, const std::string& content) {
  const bool special = flag(token, "special");
  return {{"content", content},
          {"single_word", flag(token, "single_word")},
          {"lstrip", flag(token, "lstrip")},
          {"rstrip", flag(token, "rstrip")},
          {"normalized", token.contains("normalized") ? flag(token, "normalized") : !special},
          {"special", special}};
}

Json read_added_tokens(const Json& decoder, const std::filesystem::path& file) {
  std::map<std::int64_t, Json> by_id;
  for (const auto& [key, token] : decoder.items()) {
    std::int64_t id = -1;
    const auto parsed = std::from_chars(key.data(), key.data() + key.size(), id);
    const auto content = token_text(token);
    if (parsed.ptr != key.data() + key.size() || id < 0 || !content || !token.is_object()) {
      throw InputError{file.string() + ": added_tokens_decoder: entry \"" + key +
                       "\" must map an id to an object with \"content\""};
    }
    by_id[id] = complete_token(token, *content);
  }
  Json tokens = Json::array();
  for (auto& [id, token] : by_id) tokens.push_back(std::move(token));
  return tokens;
}

std::optional<std::string> read_chat_template(const std::filesystem::path& folder,
                                              const Json& config) {
  const auto file = folder / "chat_template.jinja";
  if (std::filesystem::exists(file)) return read_text_file(file);
  const auto found = config.find("chat_template");
  if (found == config.end() || found->is_null()) return std::nullopt;
  if (found->is_string()) return found->get<std::string>();
  for (const auto& entry : *found) {
    if (entry.is_object() && entry.value("name", "") == "default" && entry.contains("template") &&
        entry["template"].is_string()) {
      return entry["template"].get<std::string>();
    }
  }
  throw InputError{(folder / "tokenizer_config.json").string() +
                   ": chat_template must be a text, or a list of {\"name\", \"template\"} in which "
                   "one is named \"default\""};
}

/// Later models list several end tokens; the first is the tokenizer's own.
void read_model_ids(const Json& config, TokenizerConfig& result) {
  for (const std::string key : {"bos_token_id", "eos_token_id", "pad_token_id"}) {
    const auto found = config.find(key);
    if (found == config.end()) continue;
    const Json& value = found->is_array() && !found->empty() ? found->front() : *found;
    // Some configurations write -1 for "none".
    if (value.is_number_integer() && value.get<std::int64_t>() >= 0) {
      result.model_ids.emplace(key, value.get<std::int64_t>());
    }
  }
}

}  // namespace

TokenizerConfig read_tokenizer_config(const std::filesystem::path& folder) {
  const auto file = folder / "tokenizer_config.json";
  const Json config = read_object(file);
  TokenizerConfig result;
  read_special_tokens(config, result);
  if (const auto found = config.find("added_tokens_decoder"); found != config.end()) {
    result.added_tokens = read_added_tokens(*found, file);
  } else {
    // Only folders from before added_tokens_decoder keep their special tokens in a file of their
    // own.
    read_special_tokens(read_object(folder / "special_tokens_map.json"), result);
  }
  result.split_special_tokens = flag(config, "split_special_tokens");
  result.clean_up_tokenization_spaces = flag(config, "clean_up_tokenization_spaces");
  result.chat_template = read_chat_template(folder, config);
  read_model_ids(read_object(folder / "generation_config.json"), result);
  read_model_ids(read_object(folder / "config.json"), result);
  return result;
}

}  // namespace hone::detail
