#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "hone/core/data/jsonl.hpp"
#include "hone/core/tokenizer.hpp"
#include "hone/core/training/batch.hpp"

namespace hone {

struct EncodingOptions {
  bool completion_only_loss = true;  ///< of a prompt and its completion, train the completion alone
  bool append_eos = false;           ///< add the end token to {"text"} rows
  bool is_encoder_decoder = false;   ///< the prompt is read by an encoder, the completion is the target
  std::int64_t vocab_size = 0;       ///< of the model: ids must be below it; 0: they are not checked
};

/// The ids that a model continues: plain text as the tokenizer encodes it, a conversation through
/// the chat template with the assistant's header.
/// Throws: InputError where the template is missing or refuses.
TokenIds encode_prompt(const Tokenizer& tokenizer, const TextOrMessages& prompt);

/// The same as text, as the model sees it.
std::string render_prompt(const Tokenizer& tokenizer, const TextOrMessages& prompt);

/// A sample as token ids; all three lists have one length, but for an encoder-decoder's labels.
struct EncodedRow {
  TokenIds ids, labels, mask;
};

/// A sample as token ids with labels:
///
/// - {"text"}: all tokens are targets.
/// - {"prompt", "completion"}: ids of the prompt as encode_prompt() gives them, then those of the
///   completion, then the end token; a conversation's end comes from its template. The prompt is not
///   trained under completion_only_loss.
/// - {"messages"}: the whole conversation through the template, all tokens are targets.
/// - {"input_ids", ...}: as they are; all ids are targets where there are no labels.
///
/// For an encoder-decoder ids are the prompt's and labels the completion's, each with the special
/// tokens that the tokenizer adds, the end token behind the completion in any case; there {"text"}
/// and {"messages"} are refused.
/// Throws: InputError that says what the row lacks, or which id the model does not know.
EncodedRow encode_row(const Tokenizer& tokenizer, const DataRow& row,
                      const EncodingOptions& options);

/// Rows of a training file with their weights, each as encode_row() has it, in order.
/// Throws: InputError that says which row and where it stands.
Batch encode_rows(const Tokenizer& tokenizer, std::span<const TrainingRow> rows,
                  const EncodingOptions& options);

}  // namespace hone
