#include "hone/launcher/loop_report.hpp"

#include <algorithm>
#include <cstdio>
#include <nlohmann/json.hpp>
#include <utility>

#include "counted.hpp"
#include "hone/core/error.hpp"
#include "hone/core/printable.hpp"
#include "job/update_record.hpp"

namespace hone::launcher {
namespace {

using nlohmann::ordered_json;

std::string text(const char* format, double value) {
  char buffer[64];
  std::snprintf(buffer, sizeof buffer, format, value);
  return buffer;
}

std::string dumped(const ordered_json& json) {
  return json.dump(-1, ' ', false, ordered_json::error_handler_t::replace);
}

void add(StepStats& sum, const UpdateStats& update) {
  const auto before = sum.target_weight;
  sum.num_tokens += update.num_tokens;
  sum.target_weight += update.target_weight;
  sum.loss = (sum.loss * before + update.loss * update.target_weight) / sum.target_weight;
  sum.grad_norm = update.grad_norm;
  sum.learning_rate = update.learning_rate;
  sum.num_samples += update.num_samples;
  sum.input_tokens += update.input_tokens;
  ++sum.updates;
}

/// A round that made no update has none of these; 0 would look like a measured one.
bool belongs_to_updates(const std::string& name) {
  return name == "loss" || name == "grad_norm" || name == "learning_rate";
}

ordered_json round_record(const RoundFigures& f) {
  ordered_json json{{"kind", "round"}, {"round", f.round}, {"step", f.train.step}};
  if (f.round > 0) {
    json.update({{"generated", f.counts.generated},
                 {"kept", f.counts.kept},
                 {"below_threshold", f.counts.below_threshold},
                 {"duplicate", f.counts.duplicate},
                 {"not_best", f.counts.not_best},
                 {"reward", f.reward},
                 {"completion_tokens", f.completion_tokens},
                 {"clipped_ratio", f.clipped_ratio},
                 {"generate_seconds", f.seconds.generate},
                 {"score_seconds", f.seconds.score},
                 {"train_seconds", f.seconds.train}});
    for (const auto& [name, value] : f.train.to_map()) {
      if (name != "step" && (f.train.updates > 0 || !belongs_to_updates(name))) json[name] = value;
    }
  }
  if (f.eval_reward) {
    json["eval_reward"] = *f.eval_reward;
    json["eval_seconds"] = f.seconds.eval;
  }
  return json;
}

}  // namespace

std::vector<EvalAnswer> gather_answers(Communicator& comm, const std::vector<EvalAnswer>& mine) {
  return parse_answers(all_gather_strings(comm, to_json(mine)));
}

LoopReport::LoopReport(Screen& screen, RunDirectory& directory, std::int64_t num_rounds,
                       bool is_check)
    : screen_(screen),
      directory_(directory),
      num_rounds_(num_rounds),
      measure_(is_check ? "accuracy" : "reward") {}

void LoopReport::show_start(const std::string& job, const std::string& model,
                            std::size_t num_prompts, std::size_t num_eval,
                            const std::string& in_effect) {
  screen_.print("hone " HONE_VERSION "  " + job + "\nrun    " +
                printable(directory_.path().string(), 1000) + "\nmodel  " + printable(model, 1000) +
                "\ndata   " + counted(static_cast<std::int64_t>(num_prompts), "prompt") + ", " +
                std::to_string(num_eval) + " for evaluation, " + counted(num_rounds_, "round") +
                '\n' + in_effect);
}

void LoopReport::log_update(const UpdateStats& update, std::int64_t round) {
  add(memory_.trained, update);
  auto record = update_record(update);
  record["round"] = round;
  directory_.append_metrics(dumped(record));
  screen_.progress({{"round", std::to_string(round) + "/" + std::to_string(num_rounds_)},
                    {"step", std::to_string(update.step)},
                    {"loss", text("%.4f", update.loss)},
                    {"grad_norm", text("%.3f", update.grad_norm)},
                    {"learning_rate", text("%.3g", update.learning_rate)}},
                   /*due=*/false);
}

StepStats LoopReport::whole_round(StepStats latest) const {
  latest.updates = memory_.trained.updates;
  latest.loss = memory_.trained.loss;
  latest.grad_norm = memory_.trained.grad_norm;
  latest.learning_rate = memory_.trained.learning_rate;
  latest.num_samples = memory_.trained.num_samples;
  latest.num_tokens = memory_.trained.num_tokens;
  latest.target_weight = memory_.trained.target_weight;
  latest.input_tokens = memory_.trained.input_tokens;
  return latest;
}

void LoopReport::log_round(const RoundFigures& f) {
  memory_.recorded_round = f.round;
  directory_.append_metrics(dumped(round_record(f)));
  Fields fields{{"round", std::to_string(f.round) + "/" + std::to_string(num_rounds_)},
                {"step", std::to_string(f.train.step)}};
  if (f.round > 0) {
    fields.insert(fields.end(), {{"generated", std::to_string(f.counts.generated)},
                                 {"kept", std::to_string(f.counts.kept)},
                                 {"reward", text("%.3f", f.reward)}});
    if (f.train.updates > 0) fields.push_back({"loss", text("%.4f", f.train.loss)});
  }
  if (f.eval_reward) fields.push_back({"eval_" + measure_, text("%.3f", *f.eval_reward)});
  fields.insert(fields.end(), {{"generate_s", text("%.1f", f.seconds.generate)},
                               {"train_s", text("%.1f", f.seconds.train)},
                               {"eval_s", text("%.1f", f.seconds.eval)}});
  screen_.print(plain_line(fields) + '\n');
}

void LoopReport::begin_round(std::int64_t round, std::string samples_digest) {
  memory_.trained = {};
  memory_.sampled_round = round;
  memory_.samples_digest = std::move(samples_digest);
}

std::string LoopReport::samples_digest(std::int64_t round) const {
  return memory_.sampled_round == round ? memory_.samples_digest : "";
}

void LoopReport::note_eval(double reward, std::vector<EvalAnswer> answers) {
  if (!memory_.initial_reward) {
    memory_.initial_reward = reward;
    memory_.before = std::move(answers);
    return;
  }
  memory_.latest_reward = reward;
  memory_.after = std::move(answers);
}

std::string LoopReport::state() const { return to_json(memory_); }

void LoopReport::restore(const std::string& state) {
  try {
    memory_ = parse_loop_memory(state);
  } catch (const InputError& error) {
    throw CheckpointError{std::string{"the checkpoint was not written by hone run: "} +
                          error.what()};
  }
}

std::string LoopReport::example() const {
  const auto shown = [](const EvalAnswer& answer) {
    return '"' + printable(answer.completion, 200) + "\"  (" + text("%g", answer.reward) + ")\n";
  };
  for (std::size_t i = 0; i < std::min(memory_.before.size(), memory_.after.size()); ++i) {
    if (memory_.after[i].reward <= memory_.before[i].reward) continue;
    return "example  \"" + printable(memory_.before[i].prompt, 300) + "\"\n  before  " +
           shown(memory_.before[i]) + "  after   " + shown(memory_.after[i]);
  }
  return {};
}

void LoopReport::show_end(std::int64_t step, std::int64_t tokens, double seconds,
                          const std::string& how_to_go_on) {
  const auto folder = printable(directory_.path().string(), 1000);
  std::string summary = "done in " + text("%.0f", seconds) + " s: " + counted(step, "update") +
                        " on " + counted(tokens, "target token") + '\n';
  if (step == 0) {
    summary += "nothing was trained: no round kept a completion that has tokens. The model is the one "
               "that the run began with\n";
  }
  if (memory_.initial_reward && memory_.latest_reward) {
    summary += measure_ + "  before " + text("%.3f", *memory_.initial_reward) + "  after " +
               text("%.3f", *memory_.latest_reward) + "  gained " +
               text("%+.3f", *memory_.latest_reward - *memory_.initial_reward) + '\n' + example();
  }
  summary += "model    " + folder + " (a Hugging Face folder)\nsamples  " + folder +
             "/samples/   metrics  " + folder + "/metrics.jsonl\n";
  if (!how_to_go_on.empty()) summary += "go on    " + how_to_go_on + '\n';
  screen_.print(summary);
}

void LoopReport::show_stop(std::int64_t step) {
  screen_.print("stopped after step " + std::to_string(step) +
                ", everything is saved. Go on with the same command and "
                "--resume_from_checkpoint auto\n");
}

}  // namespace hone::launcher
