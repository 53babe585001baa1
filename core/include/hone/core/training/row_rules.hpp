#pragma once

#include <optional>

#include "hone/core/model/language_model.hpp"
#include "hone/core/training/batch_rows.hpp"

namespace hone {

/// What a model's samples must be; `max_length` null: the model's own maximum.
inline RowRules row_rules_of(const ModelShape& shape, std::optional<std::int64_t> max_length) {
  return {.vocab_size = shape.vocab_size,
          .max_length = max_length.value_or(shape.max_positions),
          .is_encoder_decoder = shape.is_encoder_decoder,
          .decoder_start_id = shape.decoder_start_id,
          .pad_id = shape.pad_id.value_or(0)};
}

}  // namespace hone
