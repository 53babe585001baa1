// The trainer's state in a checkpoint: what no run can have been in is refused.
#include <gtest/gtest.h>

#include <nlohmann/json.hpp>
#include <string>

#include "hone/core/error.hpp"
#include "training/saved_state.hpp"

namespace hone::detail {
namespace {

SavedState some_state() {
  SavedState saved;
  saved.state.global_step = 7;
  saved.state.global_train_batch_size = 4;
  saved.state.call_digest = saved.state.seed = -3;
  return saved;
}

/// Why a state is refused of which `key` has another value.
std::string refusal_of(const char* key, const nlohmann::json& value) {
  auto json = nlohmann::json::parse(to_json(some_state()));
  json.at(key) = value;
  try {
    parse_saved_state(json.dump());
  } catch (const InputError& error) {
    return error.what();
  }
  return "";
}

TEST(SavedState, IsReadAsItWasWritten) {
  auto saved = some_state();
  saved.optimizer_steps = 6;
  saved.choices = {"reset", "one", false};
  saved.state.best_metric = 0.1;
  saved.state.best_metric_name = "reward up";
  saved.state.best_step = 5;
  saved.state.best_saved_step = 4;
  saved.state.logged_loss = 1.0 / 3.0;
  saved.state.logged_weight = 2.5;
  saved.state.user = "{\"round\": 2}";
  for (const auto& state : {some_state(), saved}) {
    const auto text = to_json(state);
    EXPECT_EQ(to_json(parse_saved_state(text)), text);
  }
  // Each under a name of its own.
  const auto read = parse_saved_state(to_json(saved));
  EXPECT_EQ(read.state.best_saved_step, 4);
  EXPECT_EQ(read.state.logged_loss, 1.0 / 3.0);
  EXPECT_EQ(read.choices.updates_per_step, "one");
}

TEST(SavedState, OfNumbersThatNoRunHasIsRefused) {
  for (const char* key : {"global_step", "call", "updates_in_call", "samples_seen", "optimizer_steps"}) {
    EXPECT_EQ(refusal_of(key, 3), "");
    EXPECT_EQ(refusal_of(key, -1),
              "the checkpoint's trainer state cannot be read: " + std::string{key} + " is negative");
    EXPECT_NE(refusal_of(key, 0.5).find(" is not an integer"), std::string::npos);
  }
  // Its calls would be of no samples, for ever.
  EXPECT_NE(refusal_of("global_train_batch_size", 0).find("global_train_batch_size is 0"), std::string::npos);
}

}  // namespace
}  // namespace hone::detail
