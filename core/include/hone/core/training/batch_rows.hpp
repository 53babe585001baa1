#pragma once

#include <cstdint>
#include <optional>

#include "hone/core/communicator.hpp"
#include "hone/core/tokenizer.hpp"
#include "hone/core/training/batch.hpp"
#include "hone/core/training/row_exchange.hpp"
#include "hone/core/training/token_row.hpp"

namespace hone {

/// What samples must be and how they are cut.
struct RowRules {
  std::int64_t vocab_size = 0;
  std::int64_t max_length = 0;
  TruncationMode truncation_mode = TruncationMode::KeepEnd;
  const Tokenizer* tokenizer = nullptr;  ///< needed for texts only
  bool append_eos = false;
  bool is_encoder_decoder = false;    ///< input_ids and texts are then sources, labels their targets
  std::int64_t decoder_start_id = 0;  ///< of encoder-decoders: stands before every target
  std::int64_t pad_id = 0;            ///< of encoder-decoders: read where a label is ignored
};

/// The batch as token rows on every rank: each rank checks and tokenizes what it was given, all
/// agree, then the rows are exchanged by the batch's scope. Padding is dropped by mask; a token
/// behind a gap loses its label, for its predecessor was padding. Of encoder-decoders max_length
/// cuts the source and the target, each for itself; labels are as long as they like. Collective.
/// Throws: InputError naming field and index of the first bad sample, on every rank.
GlobalRows agreed_rows(Communicator& comm, const Batch& batch, const RowRules& rules);

}  // namespace hone
