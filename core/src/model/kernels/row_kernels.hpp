#pragma once

#include <cstdint>

namespace hone::detail {

/// Layers of a network row by row, each one pass over memory. NaN and infinities come out as the
/// formulas have them. No pointer overlaps another that is written, except where it says so.
template <typename T>
struct RowKernels {
  /// out = x scale weight with scale = 1 / sqrt(mean(x^2) + eps), which is returned.
  float (*rms_norm)(const T* x, const T* weight, float eps, std::int64_t width, T* out);
  /// Adds what this row gives of the weight's gradient.
  void (*rms_norm_backward)(const T* x, const T* weight, float scale, const T* gradient,
                            std::int64_t width, T* x_gradient, float* weight_gradient);

  /// out = gate sigmoid(gate) up.
  void (*swiglu)(const T* gate, const T* up, std::int64_t count, T* out);
  void (*swiglu_backward)(const T* gate, const T* up, const T* gradient, std::int64_t count,
                          T* gate_gradient, T* up_gradient);

  /// Turns the pairs (x[i], x[i + half]) of each of `heads` vectors of 2 half numbers by angles
  /// whose cosines and sines are given for i < half; by their opposites where `sign` is -1.
  void (*rotate)(const T* x, const T* cos, const T* sin, float sign, std::int64_t heads,
                 std::int64_t half, T* out);

  /// Cross entropy of softmax(logits) against `target`, of which the share `smoothing` is spread
  /// evenly over all. `factor` times its gradient takes the place of the logits; null: they stay.
  double (*cross_entropy)(T* logits, std::int64_t count, std::int64_t target, double smoothing,
                          const double* factor);
};

}  // namespace hone::detail
