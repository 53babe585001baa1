#pragma once

namespace hone {

/// What somebody outside asked of the job. Higher values win when ranks disagree.
enum class StopRequest : int {
  None = 0,
  SaveAndContinue = 1,  ///< SIGUSR2
  SaveAndStop = 2,      ///< SIGUSR1
};

/// What this rank has been asked so far; the trainer reads it once an update, and all ranks agree
/// on the strongest request, so that they act at the same step. Thread-safety: take() may race with
/// whoever sets the request.
class StopSignal {
 public:
  virtual ~StopSignal() = default;
  /// The pending request. SaveAndContinue is cleared by reading it; SaveAndStop stays.
  virtual StopRequest take() = 0;
};

}  // namespace hone
