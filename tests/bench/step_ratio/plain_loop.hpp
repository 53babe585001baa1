#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "hone/core/model/language_model.hpp"

namespace hone::bench {

/// Training of a GPT-2 as one writes it first: a padded batch, operators put together, logits of
/// every position, AdamW tensor by tensor. Float32, no dropout, tied head.
class PlainLoop {
 public:
  /// Begins with copies of the model's parameters.
  PlainLoop(LanguageModel& model, double learning_rate);

  /// One update on all sequences together. Returns the loss before it.
  double step(const std::vector<std::vector<std::int64_t>>& sequences);

 private:
  struct Parameter {
    at::Tensor value, first_moment, second_moment;
  };

  const at::Tensor& of(const std::string& name) const { return parameters_.at(name).value; }
  at::Tensor norm(const at::Tensor& x, const std::string& name) const;
  at::Tensor affine(const at::Tensor& x, const std::string& name) const;
  at::Tensor attend(const at::Tensor& x, const std::string& prefix) const;
  at::Tensor logits(const at::Tensor& ids) const;
  void clip_gradients();
  void update(Parameter& parameter);

  ModelShape shape_;
  double learning_rate_;
  std::int64_t updates_ = 0;
  std::map<std::string, Parameter> parameters_;
};

}  // namespace hone::bench
