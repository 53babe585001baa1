#include "hone/core/training/checkpoint_tensors.hpp"

#include "hone/core/model/language_model.hpp"
#include "hone/core/training/optimizer.hpp"
#include "training/tensor_bytes.hpp"

namespace hone {
namespace {

TensorBytes named(std::string name, const at::Tensor& tensor) {
  return {std::move(name), detail::dtype_of(tensor), tensor.sizes().vec(),
          {static_cast<std::byte*>(tensor.data_ptr()), tensor.nbytes()}};
}

}  // namespace

std::vector<TensorBytes> model_tensors(LanguageModel& model) {
  std::vector<TensorBytes> tensors;
  const auto& store = model.parameters();
  for (std::size_t i = 0; i < store.all().size(); ++i) {
    tensors.push_back(named("model/" + store.all()[i].name, store.trained(i)));
  }
  return tensors;
}

std::vector<TensorBytes> optimizer_tensors(LanguageModel& model, Optimizer& optimizer) {
  std::vector<TensorBytes> tensors;
  const auto& store = model.parameters();
  for (const auto& [name, flat] : optimizer.state()) {
    for (std::size_t i = 0; i < store.all().size(); ++i) {
      tensors.push_back(named(name + "/" + store.all()[i].name,
                              store.view_in(flat[store.group_of(i)], i)));
    }
  }
  return tensors;
}

}  // namespace hone
