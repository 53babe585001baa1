#include "hone/core/training/packed_batch.hpp"

namespace hone {

PackedForward::PackedForward(const PackedBatch& batch, const DropoutKey* dropout) : batch_(batch) {
  if (dropout == nullptr) return;
  dropout_.emplace(dropout->seed, dropout->update, batch.samples, batch.lengths);
  if (!batch.source_ids.defined()) return;
  source_dropout_.emplace(dropout->seed, dropout->update, batch.samples, batch.source_lengths);
}

at::Tensor PackedForward::operator()(LanguageModel& model) {
  EncodedSource source;
  if (model.shape().is_encoder_decoder) {
    source = model.encode({.ids = batch_.source_ids, .dropout = pointer(source_dropout_)},
                          batch_.source_lengths);
  }
  attention_.emplace(batch_.lengths, std::move(source), pointer(dropout_));
  return model.forward({.ids = batch_.ids,
                        .positions = batch_.positions,
                        .dropout = pointer(dropout_),
                        .extra = batch_.extra},
                       *attention_);
}

}  // namespace hone
