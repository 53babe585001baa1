#include "hone/core/training/packed_forward.hpp"

#include <c10/core/AutogradState.h>
#include <c10/core/GradMode.h>

namespace hone {
namespace {

const Dropout* pointer_to(const std::optional<Dropout>& dropout) {
  return dropout ? &*dropout : nullptr;
}

/// On a GPU, too, this thread goes backward: who listens to gradients is called by it, and sends
/// them by a communicator that takes one thread at a time.
class BackwardByThisThread {
 public:
  BackwardByThisThread() { state().set_multithreading_enabled(false); }
  ~BackwardByThisThread() { state().set_multithreading_enabled(before_); }
  BackwardByThisThread(const BackwardByThisThread&) = delete;
  BackwardByThisThread& operator=(const BackwardByThisThread&) = delete;

 private:
  static c10::AutogradState& state() { return c10::AutogradState::get_tls_state(); }
  bool before_ = state().get_multithreading_enabled();
};

}  // namespace

PackedForward::PackedForward(LanguageModel& model, const PackedBatch& batch,
                             const DropoutKey* dropout) {
  const bool has_source = model.shape().is_encoder_decoder;
  if (dropout != nullptr) {
    dropout_.emplace(dropout->seed, dropout->update, batch.samples, batch.lengths);
    if (has_source) {
      source_dropout_.emplace(dropout->seed, dropout->update, batch.samples, batch.source_lengths);
    }
  }
  EncodedSource source;
  if (has_source) {
    source = model.encode({.ids = batch.source_ids, .dropout = pointer_to(source_dropout_)},
                          batch.source_lengths);
    // The decoder's blocks read it as a leaf: each may be computed again by a backward pass of its
    // own, and the encoder goes backward once, when all have added to it.
    encoded_ = source.states;
    source_ = encoded_.detach();
    if (c10::GradMode::is_enabled()) {
      source_.requires_grad_(true);
      const bool is_narrow = source_.element_size() < 4;
      if (is_narrow) source_.set_grad_dtype(at::kFloat);  // many layers add to it
    }
    source.states = source_;
  }
  attention_.emplace(batch.lengths, std::move(source), pointer_to(dropout_));
  hidden_ = model.forward({.ids = batch.ids,
                           .positions = batch.positions,
                           .dropout = pointer_to(dropout_),
                           .extra = batch.extra},
                          *attention_);
}

void PackedForward::backward(const at::Tensor& outputs, const at::Tensor& gradient) {
  const BackwardByThisThread by_this_thread;
  outputs.backward(gradient);
  if (!source_.defined() || !source_.grad().defined()) return;
  encoded_.backward(source_.grad().to(encoded_.scalar_type()));
}

}  // namespace hone
