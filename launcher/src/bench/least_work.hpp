#pragma once

#include <cstdint>
#include <span>

namespace hone {
class LanguageModel;
}

namespace hone::launcher {

/// What one update of a rank cannot do without beside its matrix products: from below, so that a
/// row of the profile can be set against it.
struct LeastWork {
  /// Of products between queries, keys and values: two forward, five backward, each token over its
  /// own sequence up to itself.
  double attention_operations = 0.0;
  /// Logits are written once and read once.
  double loss_bytes = 0.0;
  /// What the backward pass is kept is written once and read once.
  double elementwise_bytes = 0.0;
  /// AdamW reads a parameter, its gradient and two moments and writes all but the gradient; a
  /// narrower copy of the parameter is written beside.
  double optimizer_bytes = 0.0;
  /// Gradients are read once, for their norm.
  double reduce_bytes = 0.0;
};

/// Of an update on sequences of such lengths, dealt to `ranks`.
LeastWork least_work(LanguageModel& model, std::span<const std::int64_t> lengths, int ranks);

}  // namespace hone::launcher
