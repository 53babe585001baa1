#include "bench/drawn_parameters.hpp"

#include <ATen/Parallel.h>
#include <ATen/core/Tensor.h>
#include <ATen/ops/empty.h>
#include <c10/core/GradMode.h>

#include "hone/core/keyed_random.hpp"
#include "hone/core/model/language_model.hpp"

namespace hone::launcher {
namespace {

/// Numbers that one block of the random stream gives.
constexpr std::int64_t kBlock = 4;
constexpr std::int64_t kBlocksOfThread = 4096;

/// In [-0.03, 0.03), by all threads. Shape: any, contiguous float32 in host memory.
void draw(const at::Tensor& values, const KeyedRandom& random) {
  auto* const numbers = values.mutable_data_ptr<float>();
  const auto draw_block = [&](std::int64_t block, std::int64_t count) {
    const auto words = random.words(static_cast<std::uint64_t>(block));
    for (std::int64_t i = 0; i < count; ++i) {
      const auto word = static_cast<std::int32_t>(words[static_cast<std::size_t>(i)]);
      numbers[block * kBlock + i] = static_cast<float>(word) * (0.03F * 0x1.0p-31F);
    }
  };
  const auto whole = values.numel() / kBlock;
  at::parallel_for(0, whole, kBlocksOfThread, [&](std::int64_t begin, std::int64_t end) {
    for (auto block = begin; block < end; ++block) draw_block(block, kBlock);
  });
  draw_block(whole, values.numel() % kBlock);
}

}  // namespace

void draw_parameters(LanguageModel& model) {
  const c10::NoGradGuard no_grad;
  for (std::size_t i = 0; i < model.parameters().all().size(); ++i) {
    const auto values = model.parameters().trained(i).detach();
    const bool in_place = values.is_cpu() && values.scalar_type() == at::kFloat;
    const auto drawn = in_place ? values : at::empty(values.sizes(), at::kFloat);
    draw(drawn, KeyedRandom{/*seed=*/1, i});
    if (!in_place) values.copy_(drawn);
  }
  model.parameters().round_masters();
}

}  // namespace hone::launcher
