#include "training/saved_state.hpp"

#include <nlohmann/json.hpp>

#include "hone/core/data/detail/json_line.hpp"
#include "hone/core/error.hpp"

namespace hone::detail {
namespace {

/// One line per field, so that writing and reading cannot differ.
template <typename Visitor>
void visit_numbers(TrainerState& state, Visitor&& visit) {
  visit("global_step", state.global_step);
  visit("call", state.call);
  visit("updates_in_call", state.updates_in_call);
  visit("call_began", state.call_began);
  visit("call_digest", state.call_digest);
  visit("generate_call", state.generate_call);
  visit("samples_seen", state.samples_seen);
  visit("tokens_seen", state.tokens_seen);
  visit("global_train_batch_size", state.global_train_batch_size);
  visit("seed", state.seed);
  visit("deterministic_threads", state.deterministic_threads);
  visit("best_step", state.best_step);
}

/// Its digest has matched: it is not damaged but another program's.
[[noreturn]] void refuse(const std::string& reason) {
  throw InputError{"the checkpoint's trainer state cannot be read: " + reason};
}

/// What no run has: it would go on for ever, or to nowhere.
void require_possible(const SavedState& saved) {
  auto state = saved.state;
  state.seed = state.call_digest = 0;  // these may be anything
  visit_numbers(state, [](const char* name, std::int64_t value) {
    if (value < 0) throw InputError{std::string{name} + " is negative"};
  });
  if (saved.optimizer_steps < 0) throw InputError{"optimizer_steps is negative"};
  if (state.global_train_batch_size < 1) throw InputError{"global_train_batch_size is 0"};
}

}  // namespace

std::string to_json(SavedState saved) {
  auto& state = saved.state;
  nlohmann::ordered_json json;
  visit_numbers(state, [&](const char* name, std::int64_t value) { json[name] = value; });
  json["optimizer_steps"] = saved.optimizer_steps;
  json["on_new_round"] = saved.choices.on_new_round;
  json["updates_per_step"] = saved.choices.updates_per_step;
  json["shuffle_dataset"] = saved.choices.shuffle_dataset;
  if (state.best_metric) {
    json["best_metric"] = *state.best_metric;
    json["best_metric_name"] = state.best_metric_name;
    json["best_saved_step"] = state.best_saved_step;
  }
  json["logged_loss"] = state.logged_loss;
  json["logged_weight"] = state.logged_weight;
  json["user"] = state.user;
  return json.dump();
}

SavedState parse_saved_state(const std::string& text) {
  try {
    const auto json = parse_json(text, "the trainer's state");
    SavedState saved;
    auto& state = saved.state;
    visit_numbers(state, [&](const char* name, std::int64_t& value) { value = integer_at(json, name); });
    saved.optimizer_steps = integer_at(json, "optimizer_steps");
    saved.choices.on_new_round = json.at("on_new_round");
    // What follows is not in the checkpoints of earlier versions.
    saved.choices.updates_per_step = json.value("updates_per_step", "all");
    saved.choices.shuffle_dataset = json.value("shuffle_dataset", true);
    if (json.contains("best_metric")) {
      state.best_metric = json.at("best_metric").get<double>();
      state.best_metric_name = json.value("best_metric_name", "");
      state.best_saved_step = state.best_step;
      if (json.contains("best_saved_step")) state.best_saved_step = integer_at(json, "best_saved_step");
    }
    state.logged_loss = json.value("logged_loss", 0.0);
    state.logged_weight = json.value("logged_weight", 0.0);
    state.user = json.at("user");
    require_possible(saved);
    return saved;
  } catch (const nlohmann::json::exception& error) {
    refuse(reason_of(error));
  } catch (const InputError& error) {
    refuse(error.what());
  }
}

}  // namespace hone::detail
