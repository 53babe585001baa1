#pragma once

#include <cstdint>

#include "hone/core/communicator.hpp"
#include "hone/core/training/collator.hpp"
#include "hone/core/training/row_exchange.hpp"

namespace hone {

class LanguageModel;

/// Mean loss over an evaluation set, by target tokens.
struct EvalStats {
  double loss = 0.0;  ///< nats per target token
  std::int64_t num_samples = 0;
  std::int64_t num_tokens = 0;  ///< targets
  double seconds = 0.0;
};

/// Loss over rows that every rank holds (agreed_rows()), without gradients. Weighted by tokens, so
/// that neither the rank count nor the batch size changes it (transformers' eval_loss depends on
/// both). Collective.
EvalStats evaluate(LanguageModel& model, Communicator& comm, const Collator& collator,
                   const GlobalRows& rows, std::int64_t rows_per_micro_batch);

}  // namespace hone
