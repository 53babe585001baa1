#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <optional>

#include "hone/core/model/language_model.hpp"
#include "hone/core/training/packed_batch.hpp"

namespace hone {

/// Which update's dropout a training forward has.
struct DropoutKey {
  std::uint64_t seed = 0;
  std::uint64_t update = 0;
};

/// One micro-batch on its way through a model and back. What it holds is needed until then.
class PackedForward {
 public:
  /// `dropout`: null in evaluation. Both must outlive this.
  PackedForward(LanguageModel& model, const PackedBatch& batch, const DropoutKey* dropout = nullptr);
  PackedForward(const PackedForward&) = delete;
  PackedForward& operator=(const PackedForward&) = delete;

  /// Of the sequences, an encoder-decoder's decoder. Shape: (N, hidden).
  const at::Tensor& hidden() const { return hidden_; }

  /// Adds the parameters' gradients, from those of `outputs`, which were made of hidden(). Once.
  void backward(const at::Tensor& outputs, const at::Tensor& gradient);

 private:
  std::optional<Dropout> dropout_, source_dropout_;
  at::Tensor encoded_;  ///< with the encoder's graph
  at::Tensor source_;   ///< the same as a leaf, which is what the decoder reads
  std::optional<SegmentedCausalAttention> attention_;
  at::Tensor hidden_;
};

}  // namespace hone
