#include "hone/core/model/dropout.hpp"

#include <ATen/Dispatch.h>
#include <ATen/Parallel.h>
#include <ATen/core/ivalue.h>
#include <ATen/ops/empty_like.h>
#include <torch/csrc/autograd/custom_function.h>

#include <algorithm>
#include <cmath>
#include <type_traits>
#include <utility>

#include "hone/core/error.hpp"
#include "hone/core/keyed_random.hpp"

namespace hone {
namespace {

using torch::autograd::AutogradContext;
using torch::autograd::variable_list;

/// Separates these numbers from those that other purposes draw from the same seed.
constexpr std::uint64_t kDropoutPurpose = std::uint64_t{0x64726f70} << 32;  // "drop"

/// Consecutive elements that one stream of numbers belongs to.
struct Stretch {
  KeyedRandom random;
  std::int64_t begin = 0, count = 0;
};

/// Which elements stay, kept where autograd keeps values: the mask itself is made anew for the
/// gradient, so that none is ever stored.
struct Mask final : torch::CustomClassHolder {
  std::vector<Stretch> stretches;
  double probability = 0.0;

  at::Tensor applied(const at::Tensor& tensor) const {
    const auto x = tensor.contiguous();
    auto y = at::empty_like(x);
    AT_DISPATCH_FLOATING_TYPES_AND2(at::kBFloat16, at::kHalf, x.scalar_type(), "dropout", [&] {
      for (const auto& stretch : stretches) {
        apply(stretch, x.const_data_ptr<scalar_t>() + stretch.begin,
              y.mutable_data_ptr<scalar_t>() + stretch.begin);
      }
    });
    return y;
  }

 private:
  static constexpr std::int64_t kWords = 4;  // numbers that one block of the generator gives

  template <typename Scalar>
  using Wide = std::conditional_t<std::is_same_v<Scalar, double>, double, float>;

  template <typename Scalar>
  void apply(const Stretch& stretch, const Scalar* from, Scalar* to) const {
    const auto threshold = static_cast<std::uint64_t>(std::ldexp(probability, 32));
    const auto scale = static_cast<Wide<Scalar>>(1.0 / (1.0 - probability));
    const auto blocks = (stretch.count + kWords - 1) / kWords;
    at::parallel_for(0, blocks, 4096, [&](std::int64_t begin, std::int64_t end) {
      for (auto block = begin; block < end; ++block) {
        const auto words = stretch.random.words(static_cast<std::uint64_t>(block));
        const auto first = block * kWords, last = std::min(first + kWords, stretch.count);
        for (auto i = first; i < last; ++i) {
          const bool stays = words[static_cast<std::size_t>(i - first)] >= threshold;
          to[i] = stays ? static_cast<Scalar>(static_cast<Wide<Scalar>>(from[i]) * scale)
                        : Scalar{0};
        }
      }
    });
  }
};

struct Masked : torch::autograd::Function<Masked> {
  static at::Tensor forward(AutogradContext* context, const at::Tensor& x,
                            const c10::intrusive_ptr<Mask>& mask) {
    context->saved_data["mask"] = c10::IValue::make_capsule(mask);
    return mask->applied(x);
  }

  static variable_list backward(AutogradContext* context, variable_list gradients) {
    const auto mask = context->saved_data["mask"].toCapsule();
    return {static_cast<Mask&>(*mask).applied(gradients[0]), at::Tensor{}};
  }
};

at::Tensor masked(const at::Tensor& x, std::vector<Stretch> stretches, double probability) {
  if (probability >= 1.0) throw ConfigError{"dropout of 1 leaves nothing to train"};
  if (!x.device().is_cpu()) throw ConfigError{"dropout is computed on the CPU only as yet"};
  auto mask = c10::make_intrusive<Mask>();
  mask->stretches = std::move(stretches);
  mask->probability = probability;
  return Masked::apply(x, mask);
}

KeyedRandom stream(std::uint64_t seed, std::uint64_t update, std::int64_t sample,
                   std::int64_t site) {
  return KeyedRandom{seed, kDropoutPurpose ^ update, static_cast<std::uint64_t>(sample),
                     static_cast<std::uint64_t>(site)};
}

}  // namespace

Dropout::Dropout(std::uint64_t seed, std::uint64_t update, std::vector<std::int64_t> samples,
                 std::vector<std::int64_t> lengths)
    : seed_(seed), update_(update), samples_(std::move(samples)), lengths_(std::move(lengths)) {
  if (samples_.size() == lengths_.size()) return;
  throw InputError{"dropout needs a collator that makes one sequence of each sample"};
}

at::Tensor Dropout::operator()(const at::Tensor& x, double probability, std::int64_t site) const {
  const auto width = x.size(0) == 0 ? 0 : x.numel() / x.size(0);
  std::vector<Stretch> stretches;
  std::int64_t begin = 0;
  for (std::size_t i = 0; i < samples_.size(); ++i) {
    const auto count = lengths_[i] * width;
    stretches.push_back({stream(seed_, update_, samples_[i], site), begin, count});
    begin += count;
  }
  return masked(x, std::move(stretches), probability);
}

at::Tensor Dropout::of_sequence(std::size_t sequence, const at::Tensor& x, double probability,
                                std::int64_t site) const {
  return masked(x, {{stream(seed_, update_, samples_[sequence], site), 0, x.numel()}}, probability);
}

}  // namespace hone
