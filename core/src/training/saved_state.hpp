#pragma once

#include <cstdint>
#include <string>

#include "hone/core/training/trainer_state.hpp"

/// A Trainer's state as the text that checkpoints keep.
namespace hone::detail {

/// What of the options decides which samples an update has: a call goes on with what it began with.
struct RunChoices {
  std::string on_new_round, updates_per_step;
  bool shuffle_dataset = true;
};

struct SavedState {
  TrainerState state;
  std::int64_t optimizer_steps = 0;
  RunChoices choices;
};

/// parse_saved_state() throws: InputError.
std::string to_json(SavedState saved);
SavedState parse_saved_state(const std::string& text);

}  // namespace hone::detail
