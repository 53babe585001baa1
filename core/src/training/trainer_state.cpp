// A Trainer's state in and out of checkpoints.
#include <nlohmann/json.hpp>

#include "hone/core/error.hpp"
#include "hone/core/training/checkpoint_tensors.hpp"
#include "hone/core/training/trainer.hpp"
#include "training/parameter_digest.hpp"

namespace hone {
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

std::string to_json(TrainerState state, std::int64_t optimizer_steps,
                    const std::string& on_new_round) {
  nlohmann::ordered_json json;
  visit_numbers(state, [&](const char* name, std::int64_t value) { json[name] = value; });
  json["optimizer_steps"] = optimizer_steps;
  json["on_new_round"] = on_new_round;
  if (state.best_metric) json["best_metric"] = *state.best_metric;
  json["user"] = state.user;
  return json.dump();
}

TrainerState from_json(const std::string& text, std::int64_t& optimizer_steps,
                       std::string& on_new_round) {
  try {
    const auto json = nlohmann::json::parse(text);
    TrainerState state;
    visit_numbers(state, [&](const char* name, std::int64_t& value) { value = json.at(name); });
    optimizer_steps = json.at("optimizer_steps");
    on_new_round = json.at("on_new_round");
    if (json.contains("best_metric")) state.best_metric = json.at("best_metric").get<double>();
    state.user = json.at("user");
    return state;
  } catch (const nlohmann::json::exception& error) {
    throw CheckpointError{std::string{"the checkpoint's trainer state cannot be read: "} +
                          error.what()};
  }
}

}  // namespace

std::vector<TensorBytes> Trainer::tensors() {
  auto all = model_tensors(parts_.model);
  for (auto& tensor : optimizer_tensors(parts_.model, *optimizer_)) all.push_back(std::move(tensor));
  return all;
}

std::filesystem::path Trainer::save() {
  if (parts_.checkpoints == nullptr) {
    throw ConfigError{"save: the trainer was built without a checkpoint store"};
  }
  CheckpointContent content{.step = state_.global_step,
                            .tensors = tensors(),
                            .state_json = to_json(state_, optimizer_->num_steps(), options_.on_new_round),
                            .add_files = {}};
  if (!parts_.model_folder.empty()) {
    content.add_files = [&](const std::filesystem::path& folder) {
      copy_model_files(parts_.model, parts_.model_folder, folder);
    };
  }
  const auto folder = parts_.checkpoints->save(content);
  tell(&TrainerCallback::on_save, folder);
  return folder;
}

bool Trainer::resume(const std::optional<std::filesystem::path>& checkpoint) {
  if (parts_.checkpoints == nullptr) {
    throw ConfigError{"resume: the trainer was built without a checkpoint store"};
  }
  const auto chosen = checkpoint ? checkpoint : parts_.checkpoints->find_newest();
  if (!chosen) return false;
  restore(*chosen);
  return true;
}

void Trainer::restore(const std::filesystem::path& checkpoint) {
  std::int64_t optimizer_steps = 0;
  std::string on_new_round;
  auto state = from_json(parts_.checkpoints->load_state(checkpoint), optimizer_steps, on_new_round);
  const auto require_equal = [&](const std::string& name, const std::string& saved,
                                 const std::string& asked, const char* why) {
    if (saved == asked) return;
    throw ConfigError{checkpoint.string() + " was made with " + name + " " + saved +
                      ", this run asks for " + asked + ". " + why + ": leave " + name +
                      " as it was, or start a new run"};
  };
  const auto require_same = [&](const char* name, std::int64_t saved, std::int64_t asked) {
    require_equal(name, std::to_string(saved), std::to_string(asked),
                  "Samples and their order would not fit");
  };
  require_equal("on_new_round", on_new_round, options_.on_new_round, "Its rounds would not fit");
  require_same("seed", state.seed, options_.seed);
  if (options_.global_train_batch_size) {
    require_same("global_train_batch_size", state.global_train_batch_size,
                 *options_.global_train_batch_size);
  }
  if (options_.full_determinism) {
    require_same("deterministic_threads", state.deterministic_threads, state_.deterministic_threads);
  }
  require_not_past_end(state.global_step);
  parts_.checkpoints->load_tensors(checkpoint, tensors());
  parts_.model.parameters().round_masters();
  optimizer_->set_num_steps(optimizer_steps);
  state_ = std::move(state);
  detail::require_equal_parameters(parts_.communicator, parts_.model.parameters());
}

void Trainer::save_model(const std::filesystem::path& folder) {
  run_agreed(parts_.communicator, [&] {
    if (parts_.communicator.rank() == 0) {
      hone::save_model(parts_.model, parts_.model_folder, folder);
    }
  });
}

}  // namespace hone
