#pragma once

#include <ATen/core/Tensor.h>

#include <utility>
#include <vector>

#include "hone/core/checkpoint_store.hpp"

namespace hone {

class LanguageModel;
class Optimizer;

/// Host memory into which tensors of a device are loaded. On a CPU there is none: a checkpoint's
/// tensors are loaded into the live ones.
class HostCopies {
 public:
  /// `tensor` itself, or memory for it that lives as long as this.
  at::Tensor of(const at::Tensor& tensor);
  /// After loading: what was loaded here goes to the device.
  void copy_back();

 private:
  std::vector<std::pair<at::Tensor, at::Tensor>> pairs_;  ///< of the device, of the host
};

/// The model's parameters as checkpoints name them: "model/<parameter>". `to_load`: where a device's
/// are loaded to; null: to save them, for which a device's have TensorBytes::fetch.
std::vector<TensorBytes> model_tensors(LanguageModel& model, HostCopies* to_load);

/// The optimizer's state: "<state>/<parameter>", "exp_avg/model.norm.weight" say. `is_dealt`: every
/// rank's optimizer updates, and has the state of, another part of the parameters.
std::vector<TensorBytes> optimizer_tensors(LanguageModel& model, Optimizer& optimizer,
                                           HostCopies* to_load, bool is_dealt);

}  // namespace hone
