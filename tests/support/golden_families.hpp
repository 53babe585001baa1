#pragma once

#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "hone/core/communicator.hpp"
#include "hone/core/model/language_model.hpp"
#include "hone/core/training/batch.hpp"
#include "hone/core/training/step_stats.hpp"
#include "hone/core/training/trainer_options.hpp"

namespace hone::testing {

constexpr double kFirst = 1e-5;  ///< tolerance of losses and norms before any update
constexpr double kLater = 1e-3;  ///< after Adam has amplified rounding

/// AdamW, one update a call, linear from 1e-2 to zero in four.
TrainerOptions one_update_a_call();

/// One update as the reference has it: loss, norm before clipping, learning rate used.
struct ExpectedUpdate {
  double loss, norm, rate;
};

void expect_update(const UpdateStats& got, const ExpectedUpdate& want, bool first);

double sum_of_squares(LanguageModel& model);

/// Four calls on a fresh llama of spec.md give what the specification has, and the dictionary with
/// it. Collective.
void expect_one_update_a_call(Communicator& comm);

/// What transformers computes for one model family on the first two fixture sequences.
struct GoldenFamily {
  std::string name;
  nlohmann::json (*config)();
  std::size_t num_decayed, num_undecayed;
  std::vector<double> first_logits;
  double sum_of_squared_logits;  ///< of the first sequence
  std::vector<double> losses, norms;
  std::vector<TokenIds> greedy;  ///< of `prompts`
  std::vector<TokenIds> prompts = {{1, 5}, {1, 5, 9, 13}};
  std::vector<TokenIds> labels = {};  ///< none: the sequences themselves

  Batch batch() const;
};

std::vector<GoldenFamily> golden_families();

/// Four updates at a constant rate on a fresh model give the family's losses and norms. Collective.
void expect_golden_updates(const GoldenFamily& family, Communicator& comm);

}  // namespace hone::testing
