#pragma once

#include <ATen/core/Tensor.h>

#include <utility>
#include <vector>

#include "hone/core/checkpoint_store.hpp"

namespace hone {

class LanguageModel;
class Optimizer;

/// Host memory for tensors of a device while they are saved or loaded. On a CPU there is none: the
/// bytes of a checkpoint's tensors are the live ones.
class HostCopies {
 public:
  enum class Of { Tensors, Outlines };
  /// Outlines: copies without memory, to know what a checkpoint will have.
  explicit HostCopies(Of what = Of::Tensors) : what_(what) {}

  /// `tensor` itself, or a copy of it that lives as long as this.
  at::Tensor of(const at::Tensor& tensor);
  /// After loading: what was loaded into the copies goes to the device.
  void copy_back();

 private:
  Of what_;
  std::vector<std::pair<at::Tensor, at::Tensor>> pairs_;  ///< of the device, of the host
};

/// The model's parameters as checkpoints name them: "model/<parameter>".
std::vector<TensorBytes> model_tensors(LanguageModel& model, HostCopies& copies);

/// The optimizer's state: "<state>/<parameter>", "exp_avg/model.norm.weight" say. `is_dealt`: every
/// rank's optimizer updates, and has the state of, another part of the parameters.
std::vector<TensorBytes> optimizer_tensors(LanguageModel& model, Optimizer& optimizer,
                                           HostCopies& copies, bool is_dealt = false);

}  // namespace hone
