// 2,000 updates on batches of all sizes, with completions between them, need no more memory than
// the first few hundred.
#include <gtest/gtest.h>
#include <unistd.h>

#include <cstdint>
#include <fstream>

#include "hone/core/generation/generator.hpp"
#include "hone/core/memory/tensor_memory.hpp"
#include "hone/distributed/loopback_communicator.hpp"
#include "support/fixture_model.hpp"
#include "support/trainer_harness.hpp"

namespace hone {
namespace {

using testing::FixtureModel;
using testing::ragged_sequences;
using testing::TrainerHarness;

constexpr std::int64_t kUpdates = 2000, kSettled = 500;
constexpr std::int64_t kMiB = std::int64_t{1} << 20;

std::int64_t resident() {
  std::int64_t size = 0, pages = 0;
  std::ifstream{"/proc/self/statm"} >> size >> pages;
  return pages * sysconf(_SC_PAGESIZE);
}

/// So wide that tensors of a larger batch are memory of the page heap, those of a small one the C
/// library's.
nlohmann::json config() {
  auto wider = testing::llama_config();
  wider.update({{"hidden_size", 32}, {"intermediate_size", 192}});
  return wider;
}

TEST(Memory, DoesNotGrowOverUpdates) {
  keep_tensor_memory();
  const FixtureModel model{config(), testing::Fill::Random, 7};
  distributed::LoopbackCommunicator comm;
  TrainerHarness harness{model.folder(), comm, {.per_device_train_batch_size = 64, .learning_rate = 1e-4}};
  const PromptTokens prompt{.ids = {1, 5, 9}, .index = 0};
  std::int64_t settled = 0;
  for (std::int64_t update = 1; update <= kUpdates; ++update) {
    const auto sequences = 2 + update * 7 % 23;
    const auto stats = harness->step(
        {.input_ids = ragged_sequences(sequences, 60, static_cast<std::uint64_t>(update))});
    ASSERT_EQ(stats.updates, 1);
    if (update % 20 == 0) {
      generate(harness.model(), {&prompt, 1}, {.num_return_sequences = 8, .max_new_tokens = 8},
               /*seed=*/1, static_cast<std::uint64_t>(update));
    }
    if (update == kSettled) settled = resident();
  }
  EXPECT_LT(resident() - settled, kMiB)
      << "at " << kSettled << " updates " << settled << " bytes were resident";
}

}  // namespace
}  // namespace hone
