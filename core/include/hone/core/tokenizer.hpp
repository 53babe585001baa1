#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace hone {

/// One turn of a conversation, as in {"role": "user", "content": "..."}.
struct ChatMessage {
  std::string role;
  std::string content;
};

/// Text to ids and back. Implementations hold no state that a call changes.
/// Thread-safety: const methods may run concurrently.
class Tokenizer {
 public:
  virtual ~Tokenizer() = default;

  /// Ids of `text`; special tokens that the tokenizer adds by itself (BOS, T5's EOS) only where
  /// `add_special_tokens`. Source: transformers' `tokenizer(text).input_ids`.
  virtual std::vector<std::int64_t> encode(std::string_view text,
                                           bool add_special_tokens = true) const = 0;
  virtual std::string decode(std::span<const std::int64_t> ids,
                             bool skip_special_tokens = true) const = 0;

  /// The conversation as text, by the model's own template.
  /// Throws: InputError where the folder has no template or the template raises.
  virtual std::string apply_chat_template(std::span<const ChatMessage> messages,
                                          bool add_generation_prompt) const = 0;
  virtual bool has_chat_template() const = 0;

  /// Ids run over [0, vocab_size()), added tokens included.
  virtual std::int64_t vocab_size() const = 0;
  virtual std::optional<std::int64_t> bos_id() const = 0;
  virtual std::optional<std::int64_t> eos_id() const = 0;
  virtual std::optional<std::int64_t> pad_id() const = 0;
};

}  // namespace hone
