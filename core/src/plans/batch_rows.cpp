#include "hone/core/training/batch_rows.hpp"

#include <cstdio>
#include <string>

#include "hone/core/data/encoding.hpp"
#include "hone/core/error.hpp"

namespace hone {
namespace {

[[noreturn]] void fail(const char* field, std::size_t sample, const std::string& what) {
  throw InputError{"step: " + std::string{field} + "[" + std::to_string(sample) + "] " + what};
}

void require_count(const char* field, std::size_t count, const char* other, std::size_t expected) {
  if (count == expected) return;
  throw InputError{"step: " + std::string{field} + " has " + std::to_string(count) + " samples, " +
                   other + " has " + std::to_string(expected)};
}

void check_ids(const char* field, const TokenIds& ids, std::size_t sample,
               std::int64_t vocab_size) {
  if (ids.empty()) fail(field, sample, "is empty");
  if (const auto unknown = first_unknown(ids, IdKind::Token, vocab_size)) {
    fail(field, sample,
         "holds id " + std::to_string(*unknown) + ", outside the vocabulary of " +
             std::to_string(vocab_size));
  }
}

void check_length(const char* field, const TokenIds& list, std::size_t length, std::size_t sample) {
  if (list.size() == length) return;
  fail(field, sample,
       "has " + std::to_string(list.size()) + " entries, input_ids has " + std::to_string(length));
}

void check_labels(const TokenIds& labels, std::size_t sample, std::int64_t vocab_size) {
  if (const auto unknown = first_unknown(labels, IdKind::Label, vocab_size)) {
    fail("labels", sample,
         "holds " + std::to_string(*unknown) + ", neither -100 nor in the vocabulary of " +
             std::to_string(vocab_size));
  }
}

/// Keeps what the mask shows; a token behind a gap loses its label, for its predecessor was
/// padding.
TokenRow apply_mask(const TokenRow& row, const TokenIds& mask, std::size_t sample) {
  check_length("attention_mask", mask, row.ids.size(), sample);
  TokenRow kept;
  for (std::size_t i = 0; i < mask.size(); ++i) {
    if (mask[i] != 0 && mask[i] != 1) fail("attention_mask", sample, "may hold 0 and 1 only");
    if (mask[i] == 0) continue;
    kept.ids.push_back(row.ids[i]);
    kept.labels.push_back(i > 0 && mask[i - 1] == 1 ? row.labels[i] : kIgnoredLabel);
  }
  if (kept.ids.empty()) fail("attention_mask", sample, "hides every token");
  return kept;
}

/// The target behind its start token, with what its decoder reads: as any text that a model
/// continues.
/// Source: transformers' T5, whose decoder reads the pad token where a label is ignored.
void begin_target(TokenRow& row, const RowRules& rules) {
  auto& labels = row.labels;
  // Ignored labels at the end are padding: nothing comes after them.
  while (!labels.empty() && labels.back() == kIgnoredLabel) labels.pop_back();
  row.ids = {rules.decoder_start_id};
  for (const auto label : row.labels) {
    row.ids.push_back(label == kIgnoredLabel ? rules.pad_id : label);
  }
  row.labels.insert(row.labels.begin(), kIgnoredLabel);
}

[[noreturn]] void fail_without_targets(const char* missing) {
  throw InputError{std::string{"step: an encoder-decoder model learns to answer its input, and "} +
                   missing + " are missing"};
}

std::vector<TokenRow> rows_of_texts(const Batch& batch, const RowRules& rules) {
  const auto& answers = batch.texts_labels.empty() ? batch.text_labels : batch.texts_labels;
  if (rules.is_encoder_decoder && answers.empty()) fail_without_targets("texts_labels");
  if (rules.tokenizer == nullptr) {
    throw InputError{"step: texts need a tokenizer, and the trainer was given none. Pass one, or "
                     "input_ids"};
  }
  if (!answers.empty()) require_count("texts_labels", answers.size(), "texts", batch.texts.size());
  std::vector<TokenRow> rows;
  rows.reserve(batch.texts.size());
  for (std::size_t i = 0; i < batch.texts.size(); ++i) {
    const DataRow row = answers.empty() ? DataRow{TextRow{batch.texts[i]}}
                                        : DataRow{CompletionRow{batch.texts[i], answers[i]}};
    try {
      auto encoded = encode_row(*rules.tokenizer, row,
                                {.append_eos = rules.append_eos,
                                 .is_encoder_decoder = rules.is_encoder_decoder,
                                 .vocab_size = rules.vocab_size});
      rows.push_back({std::move(encoded.ids), std::move(encoded.labels)});
    } catch (const InputError& error) {
      fail("texts", i, error.what());
    }
  }
  return rows;
}

std::vector<TokenRow> rows_of_ids(const Batch& batch, const RowRules& rules) {
  if (rules.is_encoder_decoder && !batch.input_ids.empty() && batch.labels.empty()) {
    fail_without_targets("labels");
  }
  const auto same_count = [&](const std::vector<TokenIds>& lists, const char* name) {
    if (!lists.empty()) require_count(name, lists.size(), "input_ids", batch.input_ids.size());
  };
  same_count(batch.attention_mask, "attention_mask");
  same_count(batch.labels, "labels");
  std::vector<TokenRow> rows;
  rows.reserve(batch.input_ids.size());
  for (std::size_t i = 0; i < batch.input_ids.size(); ++i) {
    const auto& ids = batch.input_ids[i];
    check_ids("input_ids", ids, i, rules.vocab_size);
    TokenRow row{ids, batch.labels.empty() ? ids : batch.labels[i]};
    check_labels(row.labels, i, rules.vocab_size);
    if (rules.is_encoder_decoder) {
      if (row.labels.empty()) fail("labels", i, "is empty");
      if (!batch.attention_mask.empty()) {
        row.ids = apply_mask({ids, ids}, batch.attention_mask[i], i).ids;
      }
    } else {
      check_length("labels", row.labels, ids.size(), i);
      if (!batch.attention_mask.empty()) row = apply_mask(row, batch.attention_mask[i], i);
    }
    rows.push_back(std::move(row));
  }
  return rows;
}

std::string number_text(double value) {
  char text[32];
  std::snprintf(text, sizeof text, "%g", value);
  return text;
}

void apply_weights(const std::vector<double>& weights, std::vector<TokenRow>& rows) {
  if (weights.empty()) return;
  require_count("weights", weights.size(), "the batch", rows.size());
  for (std::size_t i = 0; i < rows.size(); ++i) {
    // Their ratios are what matters, and float32 must hold them.
    const bool fits = weights[i] == 0 || (weights[i] >= 1e-30 && weights[i] <= 1e30);
    if (!fits) fail("weights", i, "must be 0 or in [1e-30, 1e30], is " + number_text(weights[i]));
    rows[i].weight = weights[i];
  }
}

LocalRows rows_of(const Batch& batch, const RowRules& rules) {
  if (!batch.texts.empty() && !batch.input_ids.empty()) {
    throw InputError{"step: both texts and input_ids were given; labels and masks could belong to "
                     "either. Pass one of them"};
  }
  if (!batch.texts_labels.empty() && !batch.text_labels.empty()) {
    throw InputError{
        "step: texts_labels and text_labels are two names of one thing. Pass one of them"};
  }
  if (batch.texts.empty() && !(batch.texts_labels.empty() && batch.text_labels.empty())) {
    throw InputError{"step: texts_labels go with texts, which are missing"};
  }
  if (batch.input_ids.empty() && (!batch.labels.empty() || !batch.attention_mask.empty())) {
    throw InputError{"step: labels and attention_mask go with input_ids, which are missing"};
  }
  LocalRows local{.rows = batch.texts.empty()
                              ? rows_of_ids(batch, rules)
                              : rows_of_texts(batch, rules),
                  .order = batch.order};
  if (!local.order.empty()) {
    require_count("order", local.order.size(), "the batch", local.rows.size());
  }
  apply_weights(batch.weights, local.rows);
  for (auto& row : local.rows) {
    const bool ids = truncate(row.ids, rules.max_length, rules.truncation_mode);
    const bool labels = truncate(row.labels, rules.max_length, rules.truncation_mode);
    local.truncated += ids || labels ? 1 : 0;
    if (!rules.is_encoder_decoder) continue;
    row.source_ids = std::move(row.ids);
    begin_target(row, rules);
  }
  return local;
}

}  // namespace

GlobalRows agreed_rows(Communicator& comm, const Batch& batch, const RowRules& rules) {
  require_one_scope(comm, batch.scope);
  LocalRows mine;
  const bool looked_at = batch.scope != BatchScope::Root || comm.rank() == 0;
  run_agreed(comm, [&] {
    if (looked_at) mine = rows_of(batch, rules);
  });
  return exchange_rows(comm, batch.scope, std::move(mine));
}

}  // namespace hone
