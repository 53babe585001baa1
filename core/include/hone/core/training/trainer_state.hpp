#pragma once

#include <cstdint>
#include <optional>
#include <string>

namespace hone {

/// Where a run is: everything that resuming needs besides tensors.
struct TrainerState {
  std::int64_t global_step = 0;      ///< optimizer updates applied
  std::int64_t call = 0;             ///< step() calls finished; keys the order of the next one
  std::int64_t updates_in_call = 0;  ///< updates of the unfinished call that are already applied
  std::int64_t call_began = 0;       ///< global_step when the call at hand, or the last one, began
  std::int64_t call_digest = 0;      ///< of the unfinished call's samples; 0 between calls
  std::int64_t generate_call = 0;    ///< generate() calls finished; keys their random numbers
  std::int64_t samples_seen = 0;  ///< gone through, those of updates that were left out too
  std::int64_t tokens_seen = 0;   ///< targets that were trained
  std::int64_t global_train_batch_size = 0;
  std::int64_t seed = 0;
  std::int64_t deterministic_threads = 0;  ///< of each rank under full_determinism, else 0
  std::optional<double> best_metric;  ///< of metric_for_best_model, so far
  std::string best_metric_name;       ///< that one, and its direction: another one begins anew
  std::int64_t best_step = 0;         ///< where it was
  std::int64_t best_saved_step = 0;   ///< of the newest checkpoint that was the best when it was saved
  double logged_loss = 0.0;    ///< since the last log record: losses times weights
  double logged_weight = 0.0;  ///< and the weights
  std::string user;  ///< the caller's own position, returned as it was given
};

}  // namespace hone
