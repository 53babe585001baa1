#pragma once

#include <optional>
#include <string>

#include "hone/core/error.hpp"
#include "hone/core/model/language_model.hpp"
#include "hone/core/training/batch_rows.hpp"

namespace hone {

/// Throws: ConfigError where the model has no position for so many tokens.
inline void require_positions(const ModelShape& shape, std::optional<std::int64_t> max_length) {
  if (!shape.has_position_table || max_length.value_or(0) <= shape.max_positions) return;
  const auto most = std::to_string(shape.max_positions);
  throw ConfigError{"max_length " + std::to_string(*max_length) + " is beyond the model's " + most +
                    " positions (n_positions in config.json). Give --max_length " + most +
                    " or less"};
}

/// What a model's samples must be; `max_length` null: the model's own maximum.
/// Throws: as require_positions().
inline RowRules row_rules_of(const ModelShape& shape, std::optional<std::int64_t> max_length) {
  require_positions(shape, max_length);
  return {.vocab_size = shape.vocab_size,
          .max_length = max_length.value_or(shape.max_positions),
          .is_encoder_decoder = shape.is_encoder_decoder,
          .decoder_start_id = shape.decoder_start_id,
          .pad_id = shape.pad_id.value_or(0)};
}

}  // namespace hone
