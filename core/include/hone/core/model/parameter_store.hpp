#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <map>
#include <span>
#include <string>
#include <vector>

namespace hone {

/// What a model says about one of its parameters before memory exists.
struct ParameterSpec {
  std::string name;  ///< the Hugging Face name, as stored in safetensors
  std::vector<std::int64_t> shape;
  bool decayed = true;  ///< weight decay applies (Source: transformers' decay groups)
};

/// One trainable tensor: a leaf view into the flat buffer of its decay group.
struct Parameter {
  std::string name;
  at::Tensor value;
  bool decayed = true;
};

/// The flat memory of the parameters of one decay group; `gradients` is undefined until
/// enable_training(). Padding between views stays zero.
struct ParameterGroup {
  at::Tensor values;
  at::Tensor gradients;
  bool decayed = true;
};

/// A model's parameters as views into two flat buffers (decayed, not decayed), each view 64-byte
/// aligned, so that gradients are reduced, clipped and applied without packing.
class ParameterStore {
 public:
  /// Allocates zeros for `specs`, in their order. Shape: as in each spec.
  ParameterStore(std::span<const ParameterSpec> specs, at::TensorOptions options);

  /// Allocates gradients and makes every parameter a leaf that accumulates into its view.
  void enable_training();
  void zero_gradients();

  /// Throws: std::out_of_range for a name that no spec had.
  const at::Tensor& at(const std::string& name) const;
  bool contains(const std::string& name) const { return index_.contains(name); }
  std::span<const Parameter> all() const { return parameters_; }
  std::span<ParameterGroup> groups() { return groups_; }
  std::span<const ParameterGroup> groups() const { return groups_; }

  /// The view of `flat` (laid out like the group's values) that belongs to a parameter: how moments
  /// and other per-parameter state get their names.
  at::Tensor view_in(const at::Tensor& flat, std::size_t parameter) const;
  /// Index into groups() of a parameter.
  std::size_t group_of(std::size_t parameter) const { return places_[parameter].group; }

  std::int64_t num_elements() const;
  at::TensorOptions options() const { return groups_.front().values.options(); }

 private:
  struct Place {
    std::size_t group;
    std::int64_t offset;
    std::int64_t count;
  };
  std::vector<Parameter> parameters_;
  std::vector<Place> places_;
  std::map<std::string, std::size_t> index_;
  std::vector<ParameterGroup> groups_;
};

}  // namespace hone
