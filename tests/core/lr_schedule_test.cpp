// Learning rates by update. Expected values are transformers', but for cosine past its end.
#include "hone/core/training/lr_schedule.hpp"

#include <gtest/gtest.h>

#include <vector>

#include "hone/core/error.hpp"

namespace hone {
namespace {

struct Case {
  const char* kind;
  std::int64_t warmup;
  std::vector<double> rates;  ///< of the updates from 0, peak 1e-3
  ScheduleShape shape = {};
  std::int64_t max_steps = 6;
};

class Schedule : public ::testing::TestWithParam<Case> {};

TEST_P(Schedule, HasTheRatesOfTransformers) {
  const auto& expected = GetParam();
  const LrSchedule schedule{.kind = parse_schedule(expected.kind),
                            .learning_rate = 1e-3,
                            .warmup_steps = expected.warmup,
                            .max_steps = expected.max_steps,
                            .shape = expected.shape};
  schedule.validate();
  for (std::size_t update = 0; update < expected.rates.size(); ++update) {
    EXPECT_NEAR(schedule.at(static_cast<std::int64_t>(update)), expected.rates[update], 5e-10)
        << "update " << update;
  }
}

INSTANTIATE_TEST_SUITE_P(
    Kinds, Schedule,
    ::testing::Values(
        Case{"linear", 2, {0, .0005, .001, .00075, .0005, .00025, 0, 0}},
        Case{"linear", 0, {.001, .001 * 5 / 6, .001 * 4 / 6, .0005, .001 * 2 / 6, .001 / 6, 0}},
        // transformers climbs again from update 7 on; training must not.
        Case{"cosine", 2, {0, .0005, .001, .000853553, .0005, .000146447, 0, 0, 0, 0, 0, 0}},
        Case{"cosine_with_restarts", 2, {0, .0005, .001, .0005, .001, .0005, 0, 0},
             {.num_cycles = 2.0}},
        // transformers climbs again here too.
        Case{"cosine_with_min_lr", 2,
             {0, .0005, .001, .000868198, .00055, .000231802, .0001, .0001, .0001},
             {.min_lr_ratio = 0.1}},
        Case{"polynomial", 2, {0, .0005, .001, .000750025, .00050005, .000250075, 1e-7, 1e-7}},
        Case{"inverse_sqrt", 2,
             {0, .0005, .001, .000816497, .000707107, .000632456, .00057735, .000534522}},
        Case{"inverse_sqrt", 0, {.001, .000894427191, .0008164965809}, {.timescale = 4}, -1},
        Case{"polynomial", 2, {0, .0005, .001, .0007656484375, .00056254375, .0003906859375},
             {.power = 2.0}, 10},
        Case{"warmup_stable_decay", 2,
             {.0001, .00055, .001, .001, .001, .001, .001, .0008681980515, .00055, .0002318019485, .0001},
             {.min_lr_ratio = 0.1, .num_decay_steps = 4}, 10},
        Case{"warmup_stable_decay", 2, {0, .0005, .001, .001, .001, .001, .00075, .00025, 0, 0},
             {.num_decay_steps = 3}, 8},
        Case{"warmup_stable_decay", 2, {0, .0005, .001, .001, .001, .001, .001 * 2 / 3, .001 / 3, 0, 0},
             {.num_decay_steps = 3, .decay = DecayKind::Linear}, 8},
        Case{"warmup_stable_decay", 2, {0, .0005, .001, .001, .001, .001, .0004226497308, .0001835034191, 0},
             {.num_decay_steps = 3, .decay = DecayKind::OneMinusSqrt}, 8},
        Case{"constant_with_warmup", 3, {0, .001 / 3, .002 / 3, .001, .001, .001, .001, .001}},
        Case{"constant_with_warmup", 0, {.001, .001}},
        Case{"constant", 2, {.001, .001, .001, .001, .001, .001, .001, .001}}),
    [](const auto& info) { return info.param.kind + std::to_string(info.index); });

TEST(LrSchedule, DecayNeedsAnEnd) {
  for (const auto kind : {ScheduleKind::Linear, ScheduleKind::Cosine, ScheduleKind::Polynomial,
                          ScheduleKind::CosineWithRestarts, ScheduleKind::CosineWithMinLr,
                          ScheduleKind::WarmupStableDecay}) {
    EXPECT_THROW(LrSchedule{.kind = kind}.validate(), ConfigError);
  }
  for (const auto kind : {ScheduleKind::Constant, ScheduleKind::ConstantWithWarmup,
                          ScheduleKind::InverseSqrt}) {
    EXPECT_NO_THROW(LrSchedule{.kind = kind}.validate());
  }
}

TEST(LrSchedule, WarmUpMayFillTheWholeRun) {
  const LrSchedule schedule{.kind = ScheduleKind::Linear,
                            .learning_rate = 1.0,
                            .warmup_steps = 4,
                            .max_steps = 4};
  EXPECT_DOUBLE_EQ(schedule.at(3), 0.75);
  EXPECT_DOUBLE_EQ(schedule.at(5), 0.0);
}

TEST(LrSchedule, ShapesThatMakeNoSenseAreRefused) {
  const auto refused = [](ScheduleKind kind, ScheduleShape shape) {
    const LrSchedule schedule{.kind = kind, .learning_rate = 1e-3, .warmup_steps = 4,
                              .max_steps = 6, .shape = shape};
    EXPECT_THROW(schedule.validate(), ConfigError);
  };
  refused(ScheduleKind::CosineWithRestarts, {.num_cycles = 0.0});
  refused(ScheduleKind::CosineWithMinLr, {.min_lr_ratio = 1.5});
  refused(ScheduleKind::Polynomial, {.lr_end = 0.01});
  refused(ScheduleKind::WarmupStableDecay, {.num_decay_steps = 0});
  refused(ScheduleKind::WarmupStableDecay, {.num_decay_steps = 3});
}

TEST(LrSchedule, UnknownNamesAreRefused) { EXPECT_THROW(parse_schedule("cosin"), ConfigError); }

}  // namespace
}  // namespace hone
