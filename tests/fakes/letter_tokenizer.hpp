#pragma once

#include "hone/core/tokenizer.hpp"

namespace hone::testing {

/// One id per letter: a is 3, b is 4 ... No pad token.
class LetterTokenizer final : public Tokenizer {
 public:
  std::vector<std::int64_t> encode(std::string_view text, bool add_special_tokens) const override {
    std::vector<std::int64_t> ids;
    if (begins && add_special_tokens) ids.push_back(1);
    for (const char letter : text) ids.push_back(letter - 'a' + 3);
    return ids;
  }
  std::string decode(std::span<const std::int64_t>, bool) const override { return {}; }
  std::string apply_chat_template(std::span<const ChatMessage>, bool) const override { return {}; }
  bool has_chat_template() const override { return false; }
  std::int64_t vocab_size() const override { return 37; }
  std::optional<std::int64_t> bos_id() const override { return std::nullopt; }
  std::optional<std::int64_t> eos_id() const override { return 2; }
  std::optional<std::int64_t> pad_id() const override { return std::nullopt; }

  bool begins = false;  ///< adds a token of its own, 1, in front of a text
};

}  // namespace hone::testing
