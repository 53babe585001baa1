#include "hone/launcher/thread_plan.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>


namespace hone::launcher {
namespace {

using ::testing::HasSubstr;

CpuList range(int first, int last) {
  CpuList cpus;
  for (int cpu = first; cpu <= last; ++cpu) cpus.push_back(cpu);
  return cpus;
}

ThreadPlanInputs on_eight(std::vector<CpuList> masks) {
  ThreadPlanInputs inputs;
  inputs.masks = std::move(masks);
  inputs.available = range(0, 7);
  return inputs;
}

TEST(ThreadPlan, OneUnboundRankTakesAllCores) {
  const auto plan = plan_threads(on_eight({range(0, 7)}));
  EXPECT_EQ(plan.num_threads, 8);
  EXPECT_EQ(plan.warning, "");
}

TEST(ThreadPlan, RanksOfOtherMachinesTakeNoCores) {
  const std::vector<std::string> machines{"worker 1f", "worker a0", "worker 1f"};
  auto inputs = on_eight({});
  inputs.take_masks(machines, {"0-7", "0-7", "4-7"}, 2);
  EXPECT_EQ(inputs.masks, (std::vector{range(0, 7), range(4, 7)}));
  EXPECT_EQ(inputs.mine, 1U);
  inputs.take_masks(machines, {"0-7", "0-7", "4-7"}, 1);
  EXPECT_EQ(plan_threads(inputs).num_threads, 8) << "of the same name, but elsewhere";
}

TEST(ThreadPlan, UnboundRanksShareTheCores) {
  EXPECT_EQ(plan_threads(on_eight({range(0, 7), range(0, 7)})).num_threads, 4);
  EXPECT_EQ(plan_threads(on_eight({range(0, 7), range(0, 7), range(0, 7)})).num_threads, 2);
}

TEST(ThreadPlan, BoundRanksKeepTheirOwn) {
  auto inputs = on_eight({range(0, 1), range(2, 7)});
  EXPECT_EQ(plan_threads(inputs).num_threads, 2);
  inputs.mine = 1;
  EXPECT_EQ(plan_threads(inputs).num_threads, 6);
}

std::vector<CpuList> single_threaded(const CpuList& cpus) {
  std::vector<CpuList> cores;
  for (const int cpu : cpus) cores.push_back({cpu});
  return cores;
}

TEST(ThreadPlan, MoreRanksThanCoresGetOneThreadEach) {
  const auto plan = plan_threads(on_eight(std::vector<CpuList>(16, range(0, 7))));
  EXPECT_EQ(plan.num_threads, 1);
}

TEST(ThreadPlan, AQuotaIsSharedByAllRanks) {
  auto inputs = on_eight({range(0, 7), range(0, 7)});
  inputs.quota = 5.0;
  EXPECT_EQ(plan_threads(inputs).num_threads, 2);
  inputs.quota = 0.5;
  EXPECT_EQ(plan_threads(inputs).num_threads, 1);
}

TEST(ThreadPlan, UnboundRanksAreBoundToNeighbouringCores) {
  auto inputs = on_eight({range(0, 7), range(0, 7), range(0, 7)});
  // Four cores of two threads each: 0 and 4 are one core.
  inputs.cores = {{0, 4}, {1, 5}, {2, 6}, {3, 7}};
  const std::vector<CpuList> expected = {{0, 4}, {1, 5}, {2, 3, 6, 7}};
  for (inputs.mine = 0; inputs.mine < 3; ++inputs.mine) {
    const auto plan = plan_threads(inputs);
    EXPECT_EQ(plan.cpus, expected[inputs.mine]);
    EXPECT_EQ(plan.num_threads, 2);
  }
}

TEST(ThreadPlan, RanksShareACoreOnlyWhereThereAreTooFew) {
  auto inputs = on_eight({range(0, 7), range(0, 7), range(0, 7), range(0, 7)});
  inputs.cores = {{0, 2, 4, 6}, {1, 3, 5, 7}};
  const std::vector<CpuList> expected = {{0, 2}, {4, 6}, {1, 3}, {5, 7}};
  for (inputs.mine = 0; inputs.mine < 4; ++inputs.mine) {
    EXPECT_EQ(plan_threads(inputs).cpus, expected[inputs.mine]);
  }
}

TEST(ThreadPlan, WhatIsBoundSharedOrAskedForIsNotBoundAnew) {
  auto alone = on_eight({range(0, 7)});
  alone.cores = single_threaded(range(0, 7));
  EXPECT_TRUE(plan_threads(alone).cpus.empty()) << "one rank has them all";
  auto bound = on_eight({range(0, 3), range(4, 7)});
  bound.cores = single_threaded(range(0, 3));
  EXPECT_TRUE(plan_threads(bound).cpus.empty()) << "the launcher did it";
  auto two = on_eight({range(0, 7), range(0, 7)});
  EXPECT_TRUE(plan_threads(two).cpus.empty()) << "not wanted";
  two.cores = single_threaded(range(0, 7));
  EXPECT_EQ(plan_threads(two).cpus, range(0, 3));
  two.requested = 5;
  EXPECT_TRUE(plan_threads(two).cpus.empty()) << "more threads than the part has cores";
  two.requested.reset();
  two.quota = 4.0;
  EXPECT_TRUE(plan_threads(two).cpus.empty()) << "a quota shares out time, not cores";
}

TEST(ThreadPlan, WhatTheUserSaysWins) {
  auto inputs = on_eight({range(0, 7)});
  inputs.omp_num_threads = 3;
  EXPECT_EQ(plan_threads(inputs).num_threads, 3);
  inputs.requested = 5;
  EXPECT_EQ(plan_threads(inputs).num_threads, 5);
}

TEST(ThreadPlan, ZeroThreadsMeanNothingWasSaid) {
  auto inputs = on_eight({range(0, 7)});
  inputs.omp_num_threads = 0;
  EXPECT_EQ(plan_threads(inputs).num_threads, 8);
}

TEST(ThreadPlan, OneCoreWhileOthersAreIdleIsWarnedOf) {
  const auto plan = plan_threads(on_eight({{0}, {1}}));
  EXPECT_EQ(plan.num_threads, 1);
  EXPECT_THAT(plan.warning, HasSubstr("6 more are idle"));
  EXPECT_THAT(plan.warning, HasSubstr("mpirun --bind-to none"));
}

TEST(ThreadPlan, HardwareThreadsOfOneCoreWhileOthersAreIdleAreWarnedOf) {
  EXPECT_THAT(plan_threads(on_eight({{0, 4}, {1, 5}})).warning,
              HasSubstr("bound to 2 CPUs while 4 more are idle"));
  EXPECT_EQ(plan_threads(on_eight({{0, 4}, {1, 5}, {2, 6}})).warning, "") << "less than as much again";
}

TEST(ThreadPlan, CpusSharedInPartAreWarnedOf) {
  auto inputs = on_eight({range(0, 3), range(2, 7)});
  for (inputs.mine = 0; inputs.mine < 2; ++inputs.mine) {
    EXPECT_THAT(plan_threads(inputs).warning, HasSubstr("(0-3)"));
    EXPECT_THAT(plan_threads(inputs).warning, HasSubstr("(2-7)"));
    EXPECT_THAT(plan_threads(inputs).warning, HasSubstr("overlap in part"));
  }
  EXPECT_EQ(plan_threads(on_eight({range(0, 7), range(0, 7)})).warning, "") << "left on the same ones";
}

TEST(ThreadPlan, OneCoreOfAsManyAsRanksIsFine) {
  auto inputs = on_eight({{0}, {1}});
  inputs.available = {0, 1};
  EXPECT_EQ(plan_threads(inputs).warning, "");
}

TEST(ThreadPlan, TooManyThreadsAreWarnedOf) {
  auto inputs = on_eight({range(0, 7), range(0, 7)});
  inputs.omp_num_threads = 8;
  EXPECT_THAT(plan_threads(inputs).warning, HasSubstr("8 threads in each of 2 ranks"));
}

TEST(CpuText, GoesThereAndBack) {
  EXPECT_EQ(print_cpus({0, 1, 2, 3, 8, 10, 11}), "0-3,8,10-11");
  EXPECT_EQ(parse_cpus("0-3,8,10-11"), (CpuList{0, 1, 2, 3, 8, 10, 11}));
  EXPECT_EQ(print_cpus({}), "");
  EXPECT_EQ(parse_cpus(""), CpuList{});
}

TEST(CpuAffinity, OfThisProcessIsKnown) {
  EXPECT_FALSE(affinity_of_this_process().empty());
  EXPECT_FALSE(affinity_of_parent().empty());
}

}  // namespace
}  // namespace hone::launcher
