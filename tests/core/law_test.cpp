// N ranks compute what one rank computes: ranks as threads, see law_mpi_test.cpp for processes.
#include <gtest/gtest.h>

#include "support/fixture_model.hpp"
#include "support/rank_threads.hpp"
#include "support/split_training.hpp"

namespace hone::testing {
namespace {

class Law : public ::testing::TestWithParam<std::tuple<const char*, int>> {
 protected:
  int num_ranks() const { return std::get<1>(GetParam()); }
  FixtureModel model_{config_named(std::get<0>(GetParam())), Fill::Random, /*seed=*/3};
};

TEST_P(Law, UpdatesInFloat64) {
  on_ranks(num_ranks(), [&](Communicator& comm) {
    expect_updates_independent_of_split(model_.folder(), comm);
    return 0;
  });
}

TEST_P(Law, GradientsInFloat32) {
  on_ranks(num_ranks(), [&](Communicator& comm) {
    expect_gradients_independent_of_split(model_.folder(), comm);
    return 0;
  });
}

INSTANTIATE_TEST_SUITE_P(Ranks, Law,
                         ::testing::Combine(::testing::Values("llama", "gpt2", "gpt2_dropout",
                                                              "t5_dropout"),
                                            ::testing::Values(1, 2, 3, 4)),
                         [](const auto& info) {
                           return std::string{std::get<0>(info.param)} + "_" +
                                  std::to_string(std::get<1>(info.param));
                         });

}  // namespace
}  // namespace hone::testing
