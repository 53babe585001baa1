#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <string>
#include <vector>

#include "hone/core/model/parameter_store.hpp"

namespace hone {

/// Turns gradients into parameter updates; its state is flat, laid out like the parameters.
class Optimizer {
 public:
  virtual ~Optimizer() = default;

  /// One update of slices() in ParameterGroup::trained() from their gradients, in place.
  /// Units: learning rate per update.
  virtual void step(double learning_rate) = 0;
  virtual std::int64_t num_steps() const = 0;
  virtual void set_num_steps(std::int64_t steps) = 0;

  /// What it updates: of all parameters, this rank's part.
  virtual std::vector<ParameterSlice> slices() const = 0;

  /// Named flat state, one tensor for each of slices(): {"exp_avg", {decayed, not decayed}} ...
  struct State {
    std::string name;
    std::vector<at::Tensor> flat;
  };
  virtual std::vector<State> state() = 0;
};

struct AdamWOptions {
  double beta1 = 0.9;
  double beta2 = 0.999;
  double epsilon = 1e-8;
  double weight_decay = 0.0;  ///< decoupled, on decayed parameters only
};

/// AdamW as one fused kernel for each decay group. Source: Loshchilov and Hutter 2019; torch's
/// adamw_torch_fused.
class AdamW final : public Optimizer {
 public:
  /// Updates `slices` of `parameters`, which must outlive it and have gradients.
  AdamW(ParameterStore& parameters, AdamWOptions options, std::vector<ParameterSlice> slices);
  AdamW(ParameterStore& parameters, AdamWOptions options)
      : AdamW(parameters, options, parameters.whole()) {}

  void step(double learning_rate) override;
  std::int64_t num_steps() const override { return num_steps_; }
  void set_num_steps(std::int64_t steps) override { num_steps_ = steps; }
  std::vector<ParameterSlice> slices() const override { return slices_; }
  std::vector<State> state() override;

 private:
  ParameterStore& parameters_;
  AdamWOptions options_;
  std::vector<ParameterSlice> slices_;
  std::int64_t num_steps_ = 0;
  std::vector<at::Tensor> exp_avg_;
  std::vector<at::Tensor> exp_avg_sq_;
};

struct SgdOptions {
  double momentum = 0.0;
  double weight_decay = 0.0;  ///< added to the gradients of decayed parameters
};

/// Stochastic gradient descent, in place on the flat buffers. Source: torch.optim.SGD (no
/// dampening, no Nesterov).
class Sgd final : public Optimizer {
 public:
  /// Updates `slices` of `parameters`, which must outlive it and have gradients.
  Sgd(ParameterStore& parameters, SgdOptions options, std::vector<ParameterSlice> slices);
  Sgd(ParameterStore& parameters, SgdOptions options)
      : Sgd(parameters, options, parameters.whole()) {}

  void step(double learning_rate) override;
  std::int64_t num_steps() const override { return num_steps_; }
  void set_num_steps(std::int64_t steps) override { num_steps_ = steps; }
  std::vector<ParameterSlice> slices() const override { return slices_; }
  std::vector<State> state() override;

 private:
  ParameterStore& parameters_;
  SgdOptions options_;
  std::vector<ParameterSlice> slices_;
  std::int64_t num_steps_ = 0;
  std::vector<at::Tensor> momentum_buffer_;  ///< empty without momentum
};

}  // namespace hone
