#include "hone/launcher/loop/prompt_order.hpp"

#include <limits>
#include <string>

#include "hone/core/error.hpp"
#include "hone/core/keyed_random.hpp"

namespace hone::launcher {
namespace {

/// Sets these streams apart from all others of the same seed ("prompts" in ASCII).
constexpr std::uint64_t kPromptOrderStream = 0x7073'7470'6d6f'7270;

std::vector<std::int64_t> order_of_pass(std::uint64_t seed, std::int64_t pass, std::int64_t n) {
  return keyed_permutation(n,
                           KeyedRandom{seed, kPromptOrderStream, static_cast<std::uint64_t>(pass)});
}

void require_valid(std::int64_t round, std::int64_t per_round, std::int64_t num_prompts) {
  if (num_prompts < 1) throw ConfigError("there are no prompts to take a round from");
  if (per_round < 1) {
    throw ConfigError("prompts per round must be at least 1, got " + std::to_string(per_round));
  }
  if (round < 0 || round >= std::numeric_limits<std::int64_t>::max() / per_round) {
    throw ConfigError("round " + std::to_string(round) + " is out of range");
  }
}

}  // namespace

std::vector<std::int64_t> prompts_of_round(std::uint64_t seed, std::int64_t round,
                                           std::int64_t per_round, std::int64_t num_prompts) {
  require_valid(round, per_round, num_prompts);
  std::vector<std::int64_t> taken;
  taken.reserve(static_cast<std::size_t>(per_round));
  std::int64_t pass = round * per_round / num_prompts;
  std::int64_t position = round * per_round % num_prompts;
  auto order = order_of_pass(seed, pass, num_prompts);
  for (std::int64_t i = 0; i < per_round; ++i, ++position) {
    if (position == num_prompts) {
      position = 0;
      order = order_of_pass(seed, ++pass, num_prompts);
    }
    taken.push_back(order[static_cast<std::size_t>(position)]);
  }
  return taken;
}

}  // namespace hone::launcher
