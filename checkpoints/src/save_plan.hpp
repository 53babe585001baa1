#pragma once

#include <cstdint>
#include <filesystem>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "hone/core/checkpoint_store.hpp"
#include "epochs.hpp"
#include "hone/core/communicator.hpp"

namespace hone::checkpoints::detail {

/// What one rank writes of a checkpoint: all that its writer needs, so that nothing of the caller's
/// but the bytes is looked at behind its back.
struct SavePlan {
  std::filesystem::path folder;    ///< temporary; it is there
  std::string nonce;               ///< of the folder
  int rank = 0, num_ranks = 1;
  std::int64_t step = 0;
  Epoch epoch;                     ///< rank 0's
  std::string state_json;
  std::optional<std::int64_t> best_step;
  std::vector<TensorBytes> share;  ///< the rank's part
};

/// Every rank can write its part, and all ranks were given the same step, names, dtypes, shapes and
/// state. Collective. Throws: CheckpointError on every rank alike.
void require_agreed_content(Communicator& communicator, const CheckpointContent& content);

/// A manifest has room for the tensors and pieces of all ranks. Collective. Throws: CheckpointError on
/// every rank alike.
void require_room(Communicator& communicator, std::span<const TensorBytes> tensors);

/// What this rank alone has, and of the tensors that all have about as many bytes as every other
/// rank. Not collective.
std::vector<TensorBytes> share_of(std::span<const TensorBytes> tensors, int rank, int num_ranks);

}  // namespace hone::checkpoints::detail
