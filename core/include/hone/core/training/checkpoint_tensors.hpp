#pragma once

#include <vector>

#include "hone/core/checkpoint_store.hpp"

namespace hone {

class LanguageModel;
class Optimizer;

/// The model's parameters as checkpoints name them: "model/<parameter>". The bytes are the live ones.
std::vector<TensorBytes> model_tensors(LanguageModel& model);

/// The optimizer's state: "<state>/<parameter>", "exp_avg/model.norm.weight" say.
/// `is_dealt`: every rank's optimizer updates, and has the state of, another part of the parameters.
std::vector<TensorBytes> optimizer_tensors(LanguageModel& model, Optimizer& optimizer,
                                           bool is_dealt = false);

}  // namespace hone
