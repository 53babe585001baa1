#include "hone/core/hf/hf_tokenizer.hpp"

#include <limits>
#include <utility>

#include <nlohmann/json.hpp>

#include "hone/core/error.hpp"
#include "hone/core/hf/model_folder.hpp"
#include "rust_call.hpp"
#include "tokenizer_config.hpp"

namespace hone {
namespace {

using Json = nlohmann::ordered_json;
using detail::check_rust;
using detail::RustBuffer;
using detail::TemplateHandle;
using detail::TokenizerConfig;
using detail::TokenizerHandle;

std::optional<std::string> find_token(const TokenizerConfig& config, const std::string& name) {
  const auto found = config.named_tokens.find(name);
  if (found == config.named_tokens.end()) return std::nullopt;
  return found->second;
}

/// `Options` of tokenizer.rs.
std::string load_options(const TokenizerConfig& config) {
  Json special = Json::array();
  for (const auto& [name, token] : config.named_tokens) special.push_back(token);
  for (const auto& token : config.extra_tokens) special.push_back(token);
  return Json{{"added_tokens", config.added_tokens},
              {"special_tokens", std::move(special)},
              {"split_special_tokens", config.split_special_tokens},
              {"clean_up_tokenization_spaces", config.clean_up_tokenization_spaces}}
      .dump();
}

TokenizerHandle load_handle(const std::filesystem::path& file, const TokenizerConfig& config) {
  const std::string json = read_text_file(file);
  const std::string options = load_options(config);
  hone_hf_tokenizer* handle = nullptr;
  RustBuffer error;
  const int status = hone_hf_tokenizer_load(json.data(), json.size(), options.data(),
                                            options.size(), &handle, error.out());
  check_rust(status, error, file.string() + " is not a tokenizer that hone can read");
  return TokenizerHandle{handle};
}

class HfTokenizer final : public Tokenizer {
 public:
  HfTokenizer(std::string name, TokenizerHandle handle, const TokenizerConfig& config);

  std::vector<std::int64_t> encode(std::string_view text, bool add_special_tokens) const override;
  std::string decode(std::span<const std::int64_t> ids, bool skip_special_tokens) const override;
  std::string apply_chat_template(std::span<const ChatMessage> messages,
                                  bool add_generation_prompt) const override;
  bool has_chat_template() const override { return template_ || !template_error_.empty(); }

  std::int64_t vocab_size() const override {
    return static_cast<std::int64_t>(hone_hf_tokenizer_vocab_size(handle_.get()));
  }
  std::optional<std::int64_t> bos_id() const override { return bos_id_; }
  std::optional<std::int64_t> eos_id() const override { return eos_id_; }
  std::optional<std::int64_t> pad_id() const override { return pad_id_; }

 private:
  void compile_template(const std::string& source);
  std::optional<std::int64_t> find_id(const TokenizerConfig& config, const std::string& name) const;

  std::string name_;  ///< the folder, for messages
  TokenizerHandle handle_;
  TemplateHandle template_;
  std::string template_error_;
  Json template_variables_;
  std::optional<std::int64_t> bos_id_;
  std::optional<std::int64_t> eos_id_;
  std::optional<std::int64_t> pad_id_;
};

HfTokenizer::HfTokenizer(std::string name, TokenizerHandle handle, const TokenizerConfig& config)
    : name_(std::move(name)),
      handle_(std::move(handle)),
      template_variables_(config.named_tokens),
      bos_id_(find_id(config, "bos_token")),
      eos_id_(find_id(config, "eos_token")),
      pad_id_(find_id(config, "pad_token")) {
  if (config.chat_template) compile_template(*config.chat_template);
}

void HfTokenizer::compile_template(const std::string& source) {
  hone_hf_template* compiled = nullptr;
  RustBuffer error;
  const int status =
      hone_hf_template_compile(source.data(), source.size(), &compiled, error.out());
  template_.reset(compiled);
  if (status != HONE_HF_OK) template_error_ = error.str();
}

std::optional<std::int64_t> HfTokenizer::find_id(const TokenizerConfig& config,
                                                 const std::string& name) const {
  const auto token = find_token(config, name);
  if (!token) {
    const auto found = config.model_ids.find(name + "_id");
    return found == config.model_ids.end() ? std::nullopt : std::optional{found->second};
  }
  std::int64_t id = -1;
  RustBuffer error;
  const int status =
      hone_hf_tokenizer_id_of(handle_.get(), token->data(), token->size(), &id, error.out());
  check_rust(status, error, "tokenizer of " + name_ + ": " + name);
  return id < 0 ? std::nullopt : std::optional{id};
}

std::vector<std::int64_t> HfTokenizer::encode(std::string_view text,
                                              bool add_special_tokens) const {
  hone_hf_ids ids{nullptr, 0};
  RustBuffer error;
  const int status = hone_hf_tokenizer_encode(handle_.get(), text.data(), text.size(),
                                              add_special_tokens, &ids, error.out());
  check_rust(status, error, "tokenizer of " + name_ + ": the text cannot be encoded");
  const auto free = [](hone_hf_ids* owned) { hone_hf_ids_free(*owned); };
  const std::unique_ptr<hone_hf_ids, decltype(free)> owner{&ids, free};
  return {ids.data, ids.data + ids.size};
}

std::string HfTokenizer::decode(std::span<const std::int64_t> ids, bool skip_special_tokens) const {
  std::vector<std::uint32_t> narrow;
  narrow.reserve(ids.size());
  for (const std::int64_t id : ids) {
    if (id < 0 || id > std::numeric_limits<std::uint32_t>::max()) {
      throw InputError{"tokenizer of " + name_ + ": " + std::to_string(id) +
                       " is not a token id (labels hold -100 where there is no target: drop them "
                       "before decoding)"};
    }
    narrow.push_back(static_cast<std::uint32_t>(id));
  }
  RustBuffer text;
  RustBuffer error;
  const int status = hone_hf_tokenizer_decode(handle_.get(), narrow.data(), narrow.size(),
                                              skip_special_tokens, text.out(), error.out());
  check_rust(status, error, "tokenizer of " + name_ + ": the ids cannot be decoded");
  return text.str();
}

std::string HfTokenizer::apply_chat_template(std::span<const ChatMessage> messages,
                                             bool add_generation_prompt) const {
  if (!has_chat_template()) {
    throw InputError{"tokenizer of " + name_ +
                     ": no chat template (neither chat_template.jinja nor chat_template in "
                     "tokenizer_config.json); use plain texts, or add the template of the model"};
  }
  const std::string where = "chat template of " + name_;
  if (!template_) throw InputError{where + " does not compile: " + template_error_};

  Json context = template_variables_;
  context["messages"] = Json::array();
  for (const auto& message : messages) {
    context["messages"].push_back({{"role", message.role}, {"content", message.content}});
  }
  context["add_generation_prompt"] = add_generation_prompt;
  context["tools"] = nullptr;
  context["documents"] = nullptr;
  std::string input;
  try {
    input = context.dump();
  } catch (const nlohmann::json::exception& error) {
    throw InputError{where + ": a message is not valid UTF-8: " + error.what()};
  }
  RustBuffer text;
  RustBuffer error;
  const int status = hone_hf_template_render(template_.get(), input.data(), input.size(),
                                             text.out(), error.out());
  check_rust(status, error, where);
  return text.str();
}

std::string missing_tokenizer_message(const std::filesystem::path& folder) {
  const std::string message =
      (folder / "tokenizer.json").string() + " does not exist; hone reads no other tokenizer file";
  for (const char* other : {"tokenizer.model", "vocab.json", "vocab.txt", "spiece.model"}) {
    if (!std::filesystem::exists(folder / other)) continue;
    return message + ". The folder has " + other + ": convert it once with\n  python3 -c \"from " +
           "transformers import AutoTokenizer as A; A.from_pretrained('" + folder.string() +
           "').save_pretrained('" + folder.string() + "')\"";
  }
  return message;
}

}  // namespace

std::unique_ptr<Tokenizer> load_tokenizer(const std::filesystem::path& folder) {
  require_model_folder(folder);
  const auto file = folder / "tokenizer.json";
  if (!std::filesystem::exists(file)) throw MissingInputError{missing_tokenizer_message(folder)};
  const TokenizerConfig config = detail::read_tokenizer_config(folder);
  return std::make_unique<HfTokenizer>(folder.string(), load_handle(file, config), config);
}

}  // namespace hone
