#include "bench/drawn_parameters.hpp"

#include <ATen/Parallel.h>
#include <ATen/core/Tensor.h>
#include <ATen/ops/empty.h>
#include <c10/core/GradMode.h>
#include <c10/util/BFloat16.h>

#include "hone/core/keyed_random.hpp"
#include "hone/core/model/language_model.hpp"

namespace hone::launcher {
namespace {

/// Numbers that one block of the random stream gives.
constexpr std::int64_t kBlock = 4;
/// Blocks that are worth waking a thread for.
constexpr std::int64_t kGrain = 4096;

/// In [-0.03, 0.03], by all threads. Shape: any, contiguous, in host memory.
template <typename T>
void draw(const at::Tensor& values, const KeyedRandom& random) {
  auto* const numbers = values.mutable_data_ptr<T>();
  const auto draw_block = [&](std::int64_t block, std::int64_t count) {
    const auto words = random.words(static_cast<std::uint64_t>(block));
    for (std::int64_t i = 0; i < count; ++i) {
      const auto word = static_cast<std::int32_t>(words[static_cast<std::size_t>(i)]);
      numbers[block * kBlock + i] = static_cast<float>(word) * (0.03F * 0x1.0p-31F);
    }
  };
  const auto whole = values.numel() / kBlock;
  at::parallel_for(0, whole, kGrain, [&](std::int64_t begin, std::int64_t end) {
    for (auto block = begin; block < end; ++block) draw_block(block, kBlock);
  });
  draw_block(whole, values.numel() % kBlock);
}

}  // namespace

void draw_parameters(LanguageModel& model) {
  const c10::NoGradGuard no_grad;
  for (std::size_t i = 0; i < model.parameters().all().size(); ++i) {
    const auto values = model.parameters().trained(i).detach();
    const auto on_host = values.is_cpu() ? values : at::empty(values.sizes(), values.scalar_type());
    const KeyedRandom random{/*seed=*/1, i};
    if (values.scalar_type() == at::kBFloat16) {
      draw<c10::BFloat16>(on_host, random);
    } else {
      draw<float>(on_host, random);
    }
    if (!values.is_cpu()) values.copy_(on_host);
  }
  model.parameters().round_masters();
}

}  // namespace hone::launcher
