#include <gtest/gtest.h>

#include "hone/core/options/nearest_name.hpp"

namespace hone {
namespace {

const std::vector<std::string> kNames = {
    "learning_rate", "per_device_train_batch_size", "global_train_batch_size",
    "max_steps",     "max_length",                  "weight_decay",
    "warmup_steps",  "generate.temperature",        "generate.num_return_sequences",
    "keep.best_of",  "prompts.file",                "bf16"};

std::string nearest(std::string_view typed) { return nearest_name(typed, kNames).value_or("none"); }

TEST(NearestName, MendsSlips) {
  EXPECT_EQ(nearest("learning_rat"), "learning_rate");
  EXPECT_EQ(nearest("leanring_rate"), "learning_rate");
  EXPECT_EQ(nearest("Learning-Rate"), "learning_rate");
  EXPECT_EQ(nearest("max_step"), "max_steps");
  EXPECT_EQ(nearest("bf61"), "bf16");
  EXPECT_EQ(nearest("generate.temprature"), "generate.temperature");
}

TEST(NearestName, KnowsInitialsAndShortenings) {
  EXPECT_EQ(nearest("lr"), "learning_rate");
  EXPECT_EQ(nearest("wd"), "weight_decay");
  EXPECT_EQ(nearest("temp"), "generate.temperature");
  EXPECT_EQ(nearest("batch_size"), "global_train_batch_size");
  EXPECT_EQ(nearest("device_batch_size"), "per_device_train_batch_size");
}

TEST(NearestName, KnowsARightNameInTheWrongPlace) {
  EXPECT_EQ(nearest("temperature"), "generate.temperature");
  EXPECT_EQ(nearest("train.learning_rate"), "learning_rate");
  EXPECT_EQ(nearest("sampling.num_return_sequences"), "generate.num_return_sequences");
}

TEST(NearestName, SaysNothingWhereNothingIsNear) {
  EXPECT_EQ(nearest("optimizer"), "none");
  EXPECT_EQ(nearest("x"), "none");
  EXPECT_EQ(nearest(""), "none");
  EXPECT_EQ(nearest("..__"), "none");
  EXPECT_EQ(nearest_name("a", {}), std::nullopt);
}

}  // namespace
}  // namespace hone
