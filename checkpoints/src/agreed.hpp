#pragma once

#include <utility>

#include "hone/core/communicator.hpp"
#include "hone/core/error.hpp"

namespace hone::checkpoints::detail {

/// run_agreed() for checkpoints: what failed on any rank is thrown on every rank as a
/// CheckpointError with that rank's exit code. Collective; `local` must not communicate.
template <typename Function>
void agreed(Communicator& communicator, Function&& local) {
  try {
    run_agreed(communicator, std::forward<Function>(local));
  } catch (const CommunicatorError&) {
    throw;  // peers are lost: not a word about checkpoints
  } catch (const Error& error) {
    throw CheckpointError{error.what(), error.exit_code()};
  }
}

}  // namespace hone::checkpoints::detail
