#include "bench/least_work.hpp"

#include <algorithm>

#include "hone/core/model/language_model.hpp"

namespace hone::launcher {

LeastWork least_work(LanguageModel& model, std::span<const std::int64_t> lengths, int ranks) {
  constexpr double kFloat = 4.0;
  const auto& shape = model.shape();
  double tokens = 0.0, pairs = 0.0;
  for (const auto length : lengths) {
    const auto n = static_cast<double>(length);
    tokens += n / ranks;
    pairs += n * (n + 1) / 2 / ranks;
  }
  double kept_of_token = 0.0;
  for (const auto& stack : model.stacks(std::ranges::max(lengths))) {
    kept_of_token += static_cast<double>(stack.num_blocks * stack.kept);
  }
  const auto parameters = static_cast<double>(model.parameters().num_elements());
  const auto bytes = static_cast<double>(model.parameters().element_bytes());
  const auto width = static_cast<double>(shape.num_layers * shape.num_heads * shape.head_dim);
  return {.attention_operations = 7 * 2 * pairs * width,
          .loss_bytes = 2 * tokens * static_cast<double>(shape.vocab_size) * bytes,
          .elementwise_bytes = 2 * tokens * kept_of_token,
          .optimizer_bytes = parameters * (7 * kFloat + (bytes < kFloat ? bytes : 0)),
          .reduce_bytes = parameters * kFloat};
}

}  // namespace hone::launcher
