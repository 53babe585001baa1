#include "hone/core/data/encoding.hpp"

#include <algorithm>
#include <string>

#include "hone/core/error.hpp"
#include "hone/core/training/token_row.hpp"

namespace hone {
namespace {

using Encoded = EncodedRow;

Encoded all_targets(TokenIds ids) {
  return {ids, ids, TokenIds(ids.size(), 1)};
}

Encoded join(TokenIds prompt, const TokenIds& completion, bool completion_only) {
  Encoded row;
  row.labels = completion_only ? TokenIds(prompt.size(), kIgnoredLabel) : prompt;
  row.labels.insert(row.labels.end(), completion.begin(), completion.end());
  row.ids = std::move(prompt);
  row.ids.insert(row.ids.end(), completion.begin(), completion.end());
  row.mask.assign(row.ids.size(), 1);
  return row;
}

void require_known(const char* name, const TokenIds& ids, IdKind kind, std::int64_t vocab_size) {
  if (const auto unknown = first_unknown(ids, kind, vocab_size)) {
    throw InputError{std::string{name} + " hold " + std::to_string(*unknown) +
                     ", outside the model's vocabulary of " + std::to_string(vocab_size)};
  }
}

/// What the template adds to the rendered prompt for the completion's messages, its end included.
std::string rendered_completion(const Tokenizer& tokenizer, const std::vector<ChatMessage>& prompt,
                                const std::vector<ChatMessage>& completion) {
  auto all = prompt;
  all.insert(all.end(), completion.begin(), completion.end());
  const auto head = tokenizer.apply_chat_template(prompt, true);
  const auto whole = tokenizer.apply_chat_template(all, false);
  if (!whole.starts_with(head)) {
    throw InputError{"the chat template writes a conversation differently once it is answered, so "
                     "the completion cannot be told from the prompt. Use {\"messages\"} rows"};
  }
  return whole.substr(head.size());
}

class RowEncoder {
 public:
  RowEncoder(const Tokenizer& tokenizer, const EncodingOptions& options)
      : tokenizer_(tokenizer), options_(options) {}

  Encoded operator()(const TextRow& row) const {
    if (options_.is_encoder_decoder) fail_without_target("text");
    auto ids = tokenizer_.encode(row.text);
    if (options_.append_eos) append_eos(ids);
    return all_targets(std::move(ids));
  }

  Encoded operator()(const MessagesRow& row) const {
    if (options_.is_encoder_decoder) fail_without_target("messages");
    return all_targets(
        tokenizer_.encode(tokenizer_.apply_chat_template(row.messages, false), false));
  }

  Encoded operator()(const TokensRow& row) const {
    if (row.attention_mask) require_beside_ids("attention_mask", *row.attention_mask, row);
    if (options_.is_encoder_decoder) {
      if (!row.labels) fail_without_target("input_ids");
    } else if (row.labels) {
      require_beside_ids("labels", *row.labels, row);
    }
    return {row.input_ids, row.labels.value_or(row.input_ids),
            row.attention_mask.value_or(TokenIds(row.input_ids.size(), 1))};
  }

  Encoded operator()(const CompletionRow& row) const {
    if (options_.is_encoder_decoder) return source_and_target(row);
    TokenIds completion;
    if (const auto* text = std::get_if<std::string>(&row.completion)) {
      completion = tokenizer_.encode(*text, false);
      append_eos(completion);
    } else {
      const auto& messages = std::get<std::vector<ChatMessage>>(row.prompt);
      const auto& answer = std::get<std::vector<ChatMessage>>(row.completion);
      completion = tokenizer_.encode(rendered_completion(tokenizer_, messages, answer), false);
    }
    return join(encode_prompt(tokenizer_, row.prompt), completion, options_.completion_only_loss);
  }

 private:
  [[noreturn]] static void fail_without_target(const std::string& form) {
    throw InputError{"a {\"" + form +
                     "\"} row has no target, which an encoder-decoder model needs. Use "
                     "{\"prompt\", \"completion\"} or {\"input_ids\", \"labels\"} rows"};
  }

  static void require_beside_ids(const std::string& name, const TokenIds& list,
                                 const TokensRow& row) {
    if (list.size() == row.input_ids.size()) return;
    throw InputError{name + " has " + std::to_string(list.size()) + " entries, input_ids has " +
                     std::to_string(row.input_ids.size()) + "; they must be as many"};
  }

  Encoded source_and_target(const CompletionRow& row) const {
    const auto* target = std::get_if<std::string>(&row.completion);
    if (target == nullptr) {
      throw InputError{
          "an encoder-decoder model takes prompt and completion as texts, not as messages"};
    }
    Encoded encoded{.ids = encode_prompt(tokenizer_, row.prompt),
                    .labels = tokenizer_.encode(*target),
                    .mask = {}};
    append_eos(encoded.labels);
    encoded.mask.assign(encoded.ids.size(), 1);
    return encoded;
  }

  void append_eos(TokenIds& ids) const {
    const auto eos = tokenizer_.eos_id();
    if (!eos) throw InputError{"the tokenizer names no end token to close a sample with"};
    if (ids.empty() || ids.back() != *eos) ids.push_back(*eos);
  }

  const Tokenizer& tokenizer_;
  const EncodingOptions& options_;
};

}  // namespace

std::string render_prompt(const Tokenizer& tokenizer, const TextOrMessages& prompt) {
  if (const auto* text = std::get_if<std::string>(&prompt)) return *text;
  return tokenizer.apply_chat_template(std::get<std::vector<ChatMessage>>(prompt), true);
}

TokenIds encode_prompt(const Tokenizer& tokenizer, const TextOrMessages& prompt) {
  // A template writes the special tokens itself.
  const bool is_text = std::holds_alternative<std::string>(prompt);
  return tokenizer.encode(render_prompt(tokenizer, prompt), /*add_special_tokens=*/is_text);
}

EncodedRow encode_row(const Tokenizer& tokenizer, const DataRow& row,
                      const EncodingOptions& options) {
  auto encoded = std::visit(RowEncoder{tokenizer, options}, row);
  if (encoded.ids.empty()) throw InputError{"has no tokens"};
  if (options.vocab_size > 0) {
    require_known("input_ids", encoded.ids, IdKind::Token, options.vocab_size);
    require_known("labels", encoded.labels, IdKind::Label, options.vocab_size);
  }
  return encoded;
}

Batch encode_rows(const Tokenizer& tokenizer, std::span<const TrainingRow> rows,
                  const EncodingOptions& options) {
  Batch batch;
  for (const auto& row : rows) {
    try {
      auto encoded = encode_row(tokenizer, row.data, options);
      batch.input_ids.push_back(std::move(encoded.ids));
      batch.labels.push_back(std::move(encoded.labels));
      batch.attention_mask.push_back(std::move(encoded.mask));
      batch.weights.push_back(row.weight);
    } catch (const InputError& error) {
      throw InputError{row.where + ": " + error.what()};
    }
  }
  // Collators that know nothing of weights serve where there are none.
  if (std::ranges::all_of(batch.weights, [](double weight) { return weight == 1.0; })) {
    batch.weights.clear();
  }
  return batch;
}

}  // namespace hone
