#pragma once

#include <ATen/core/Tensor.h>

#include <cstddef>
#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "hone/core/buffer_partition.hpp"

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
  at::Tensor values;     ///< what the model computes with
  at::Tensor gradients;  ///< float32 also where the values are narrower
  bool decayed = true;
  at::Tensor masters;    ///< float32 originals of narrower values; undefined where there are none

  /// What an optimizer updates: the masters where there are some, else the values.
  const at::Tensor& trained() const { return masters.defined() ? masters : values; }
};

/// A run of the flat memory of one group: what one rank's optimizer updates.
struct ParameterSlice {
  std::size_t group = 0;  ///< index into ParameterStore::groups()
  ElementRange range;

  /// That part of one of the group's tensors.
  at::Tensor of(const at::Tensor& flat) const { return flat.narrow(0, range.begin, range.count); }
};

/// A model's parameters as views into two flat buffers (decayed, not decayed), each view 64-byte
/// aligned, so that gradients are reduced, clipped and applied without packing.
class ParameterStore {
 public:
  /// Allocates zeros for `specs`, in their order. Shape: as in each spec.
  /// `with_masters`: values narrower than float32 are rounded copies of masters, which are what is
  /// loaded, trained and saved in checkpoints.
  ParameterStore(std::span<const ParameterSpec> specs, at::TensorOptions options,
                 bool with_masters = false);

  /// Where gradients are to lie: memory, all zero, of so many bytes, or null for any.
  using Allocate = std::function<std::shared_ptr<std::byte>(std::int64_t bytes)>;

  /// Makes every parameter a leaf that accumulates into its view of the gradients, which are
  /// allocated if there are none yet. Values narrower than float32 get masters if they have none.
  /// One is frozen by `value.set_requires_grad(false)` after that, on every rank: it gets no
  /// gradient, and optimizers pass it over, weight decay too.
  void enable_training(const Allocate& allocate = {});
  void zero_gradients();
  /// After the masters changed: the values follow. Nothing where there are none.
  void round_masters();

  /// Throws: std::out_of_range for a name that no spec had.
  const at::Tensor& at(const std::string& name) const;
  bool contains(const std::string& name) const { return index_.contains(name); }
  std::span<const Parameter> all() const { return parameters_; }
  std::span<ParameterGroup> groups() { return groups_; }
  std::span<const ParameterGroup> groups() const { return groups_; }

  /// The view of `flat` (laid out like the group's values) that belongs to a parameter: how moments
  /// and other per-parameter state get their names.
  at::Tensor view_in(const at::Tensor& flat, std::size_t parameter) const;
  /// A parameter's view in ParameterGroup::trained(): what loading fills and checkpoints hold.
  at::Tensor trained(std::size_t parameter) const {
    return view_in(groups_[group_of(parameter)].trained(), parameter);
  }
  /// Where a parameter lies.
  ParameterSlice slice_of(std::size_t parameter) const {
    const auto& place = places_[parameter];
    return {place.group, {place.offset, place.count}};
  }
  std::size_t group_of(std::size_t parameter) const { return places_[parameter].group; }
  /// What of `slice` is not frozen: all of it, or the runs between the frozen parameters.
  std::vector<ParameterSlice> trainable(const ParameterSlice& slice) const;
  /// All of every group, in their order.
  std::vector<ParameterSlice> whole() const;

  std::int64_t num_elements() const;
  at::TensorOptions options() const { return groups_.front().values.options(); }
  /// Units: bytes of one value.
  std::int64_t element_bytes() const { return groups_.front().values.element_size(); }

 private:
  void allocate_masters();
  void allocate_gradients(const Allocate& allocate);

  struct Place {
    std::size_t group;
    std::int64_t offset;
    std::int64_t count;
  };
  std::vector<Parameter> parameters_;
  std::vector<Place> places_;
  std::map<std::string, std::size_t> index_;
  std::vector<ParameterGroup> groups_;
  std::int64_t align_ = 1;  ///< elements of which every parameter's offset is a multiple
};

}  // namespace hone
