#include <algorithm>
#include <cmath>
#include <nlohmann/json.hpp>

#include "counted.hpp"
#include "hone/core/data/encoding.hpp"
#include "hone/core/error.hpp"
#include "hone/launcher/commands.hpp"
#include "hone/launcher/loop/prompt_order.hpp"
#include "hone/launcher/loop/run_directory.hpp"
#include "hone/launcher/training_job.hpp"
#include "job/equal_options.hpp"
#include "job/evaluated_file.hpp"
#include "job/run_totals.hpp"
#include "job/start_line.hpp"
#include "job/update_record.hpp"

namespace hone::launcher {
namespace {

struct TrainCommandOptions {
  ModelOptions model;
  ResumeOptions resume;
  TrainerOptions train;
  EncodingOptions encoding;
  std::filesystem::path train_file, eval_file, output_dir;
  double num_train_epochs = 3.0;
  std::int64_t logging_steps = 10;
  std::int64_t eval_steps = 0;
  bool keep_best_model = false;
  std::int64_t save_steps = 500;
  double save_minutes = 0.0;
  SaveLimits save_limits;
  std::int64_t seed = 42;

  void bind(OptionRegistry& registry) {
    registry.add_config_option();
    model.bind(registry);
    auto data = registry.group("Data");
    data.add("train_file", &train_file,
             "JSON lines: {text} | {prompt, completion} | {messages} | {input_ids, ...}.")
        .required();
    data.add("eval_file", &eval_file, "The same, for evaluation; empty: none.");
    data.add("num_train_epochs", &num_train_epochs,
             "Passes over train_file, where max_steps is -1.", positive());
    data.add("completion_only_loss", &encoding.completion_only_loss,
             "Of a prompt and its completion, train the completion alone.");
    auto run = registry.group("Run");
    run.add("output_dir", &output_dir, "The run directory.").required();
    run.add("seed", &seed, "Keys every random number of the run.", non_negative());
    run.add("logging_steps", &logging_steps, "Updates between log lines.", at_least(1));
    run.add("eval_steps", &eval_steps, "Updates between evaluations; 0: only at the end.",
            non_negative());
    run.add("keep_best_model", &keep_best_model,
            "Write the model with the lowest eval_loss so far to output_dir/best.");
    run.add("save_steps", &save_steps, "Updates between checkpoints; 0: only at the end.",
            non_negative());
    run.add("save_minutes", &save_minutes, "A checkpoint after so many minutes without; 0: none.",
            non_negative());
    save_limits.bind(run, "save_");
    resume.bind(run);
    register_trainer_options(registry, train);
  }

  void resolve(const std::filesystem::path& config) {
    train_file = resolve_beside(train_file, config);
    if (!eval_file.empty()) eval_file = resolve_beside(eval_file, config);
    train.seed = seed;
    train.save_steps = save_steps;
    train.save_minutes = save_minutes;
    train.save_max_overhead = save_limits.max_overhead;
    encoding.append_eos = train.append_eos;
    if (!eval_file.empty()) train.eval_strategy = eval_steps > 0 ? "steps" : "end";
    train.eval_steps = static_cast<double>(eval_steps);
    if (eval_steps > 0 && eval_file.empty()) throw ConfigError{"eval_steps needs eval_file"};
    for (const auto& file : {train_file, eval_file}) {
      if (file.empty() || std::filesystem::exists(file)) continue;
      throw MissingInputError{file.string() + ": there is no such file"};
    }
    if (keep_best_model) {
      if (eval_file.empty()) throw ConfigError{"keep_best_model needs eval_file"};
      train.metric_for_best_model = "eval_loss";
    }
    if (train.on_new_round != "keep") {
      throw ConfigError{"on_new_round is for hone run: hone train has no rounds"};
    }
    train.validate();
  }
};

Batch read_rows(Session& session, const Tokenizer& tokenizer, const std::filesystem::path& file,
                const EncodingOptions& options) {
  Batch rows;
  run_agreed(session.communicator(), [&] {
    if (!file.empty()) rows = encode_rows(tokenizer, read_training_rows(file), options);
  });
  return rows;
}

/// Supervised training over a file: each update is one Trainer::step() call on its own samples, so
/// that the trainer's call count is the position in the data.
class FileTraining final : private TrainerCallback {
 public:
  FileTraining(Session& session, const TrainCommandOptions& options,
               const std::filesystem::path& config, const std::string& resolved_yaml)
      : session_(session),
        options_(options),
        directory_(session.communicator(), options.output_dir,
                   options.resume.resume_from_checkpoint, session.log()),
        resolved_yaml_(resolved_yaml) {
    session.open_logs(options.output_dir);
    model_folder_ = options.model.folder(config);
    // Rows are needed before the trainer: a schedule by epochs ends where they do.
    auto loaded = load_for_session(session, model_folder_, options.model.load_options(true));
    auto encoding = options.encoding;
    encoding.is_encoder_decoder = loaded.model->shape().is_encoder_decoder;
    encoding.vocab_size = loaded.model->shape().vocab_size;
    train_rows_ = read_rows(session, *loaded.tokenizer, options.train_file, encoding);
    std::vector<EvalSet> eval_sets;
    if (!options.eval_file.empty()) {
      eval_sets.push_back(
          {"", read_rows(session, *loaded.tokenizer, options.eval_file, encoding)});
    }
    job_ = std::make_unique<TrainingJob>(
        session, std::move(loaded), trainer_options(),
        options.save_limits.store_in(options.output_dir), std::move(eval_sets));
  }

  int run() {
    const bool resumed = job_->resume(options_.resume);
    if (resumed) saved_step_ = trainer().state().global_step;
    look_at_samples(resumed);
    trainer().prepare_saves(/*behind=*/false);  // the last one comes whatever save_steps says
    job_->record_options(directory_, resolved_yaml_, resumed);
    trainer().set_max_steps(updates_in_all(batch_size()));
    directory_.discard_metrics_after(resumed ? trainer().state().global_step : -1, 0);
    trainer().add_callback(*this);
    session_.screen().print("hone " HONE_VERSION "  " + session_.describe() + "\ndata   " +
                            counted(num_rows(), "sample") + ", " +
                            counted(trainer().options().max_steps, "update") + '\n' +
                            options_in_effect(options_.train, options_.model.bf16,
                                              session_.size()));
    totals_.start();
    while (!trainer().done()) {
      const auto stats = trainer().step(next_batch());
      totals_.add(stats);
      require_progress(stats);
    }
    record_totals();
    if (trainer().stopped()) {
      session_.screen().print("stopped, everything is saved. Go on with the same command and "
                              "--resume_from_checkpoint auto\n");
      return static_cast<int>(ExitCode::Stopped);
    }
    return finish();
  }

 private:
  Trainer& trainer() { return job_->trainer(); }
  std::int64_t num_rows() const { return static_cast<std::int64_t>(train_rows_.input_ids.size()); }

  /// Samples of one update. A resumed run keeps what it began with, whatever the number of ranks.
  std::int64_t batch_size() const { return job_->trainer().state().global_train_batch_size; }

  /// A resumed run goes on with the samples that it began with, or its user knows that it does not.
  void look_at_samples(bool resumed) {
    std::vector<TokenRow> rows;
    for (std::size_t i = 0; i < train_rows_.input_ids.size(); ++i) {
      // The digest takes any lists: the mask has none of its own in a row.
      const double weight = train_rows_.weights.empty() ? 1.0 : train_rows_.weights[i];
      rows.push_back({.ids = train_rows_.input_ids[i],
                      .labels = train_rows_.labels[i],
                      .weight = weight,
                      .source_ids = train_rows_.attention_mask[i]});
    }
    const auto digest = "samples " + std::to_string(digest_of(rows));
    const auto& before = trainer().state().user;
    if (resumed && !before.empty() && before != digest) {
      session_.log().warning(options_.train_file.string() +
                             " holds other samples than when the run was last started: it no "
                             "longer ends as the undisturbed run would");
    }
    trainer().set_user_state(digest);
  }

  std::int64_t updates_in_all(std::int64_t batch_size) const {
    if (options_.train.max_steps != -1) return options_.train.max_steps;
    return static_cast<std::int64_t>(std::ceil(options_.num_train_epochs *
                                               static_cast<double>(num_rows()) /
                                               static_cast<double>(batch_size)));
  }

  TrainerOptions trainer_options() const {
    auto options = options_.train;
    // Schedules want an end at once; run() sets the right one when the batch size is known.
    options.max_steps = updates_in_all(/*batch_size=*/1);
    options.shuffle_dataset = false;  // next_batch() has shuffled
    return options;
  }

  Batch next_batch() {
    const auto call = trainer().state().call;
    Batch batch;
    for (const auto row : rows_of(call)) {
      const auto i = static_cast<std::size_t>(row);
      batch.input_ids.push_back(train_rows_.input_ids[i]);
      batch.labels.push_back(train_rows_.labels[i]);
      batch.attention_mask.push_back(train_rows_.attention_mask[i]);
      if (!train_rows_.weights.empty()) batch.weights.push_back(train_rows_.weights[i]);
    }
    return batch;
  }

  std::vector<std::int64_t> rows_of(std::int64_t call) const {
    if (options_.train.shuffle_dataset) {
      return prompts_of_round(static_cast<std::uint64_t>(options_.seed), call, batch_size(),
                              num_rows());
    }
    std::vector<std::int64_t> rows;
    for (std::int64_t i = 0; i < batch_size(); ++i) {
      rows.push_back((call * batch_size() + i) % num_rows());
    }
    return rows;
  }

  bool due(std::int64_t every) {
    return every > 0 && trainer().state().global_step % every == 0;
  }

  /// Samples without a target token make no update, nor do those left out by on_non_finite; a file
  /// of nothing else would never end.
  void require_progress(const StepStats& stats) {
    idle_samples_ = stats.updates > 0 ? 0 : idle_samples_ + stats.num_samples;
    if (idle_samples_ < 2 * num_rows()) return;
    if (stats.non_finite > 0) {
      throw DivergedError{"no update of the last two passes over " + options_.train_file.string() +
                          " was finite, all were left out. Lower learning_rate, or go on from an "
                          "earlier checkpoint"};
    }
    throw InputError{options_.train_file.string() +
                     ": no sample has a token to train on (all labels are -100, max_length cuts "
                     "them off, or their weights are 0), so no update can be made"};
  }

  void on_step_end(const TrainerState&, const UpdateStats& stats) override {
    session_.note_step(stats.step);
    auto record = update_record(stats);
    record["epoch"] = static_cast<double>(trainer().state().samples_seen) /
                      static_cast<double>(num_rows());
    directory_.append_metrics(record.dump());
    const auto number = [](const char* format, double value) {
      char text[48];
      std::snprintf(text, sizeof text, format, value);
      return std::string{text};
    };
    session_.screen().progress(
        {{"step", std::to_string(stats.step)},
         {"loss", number("%.4f", stats.loss)},
         {"grad_norm", number("%.3f", stats.grad_norm)},
         {"learning_rate", number("%.3g", stats.learning_rate)},
         {"tokens_per_second",
          number("%.0f", static_cast<double>(stats.input_tokens) / std::max(stats.seconds, 1e-9))}},
        due(options_.logging_steps) || stats.step == trainer().options().max_steps);
  }

  void on_save(const TrainerState& state, const std::filesystem::path&) override {
    saved_step_ = state.global_step;
  }

  void on_evaluate(const TrainerState&, const EvalStats& stats) override {
    require_targets(stats, options_.eval_file);
    nlohmann::ordered_json record{{"kind", "eval"}, {"step", trainer().state().global_step}};
    for (const auto& [name, value] : stats.to_map()) record[name] = value;
    record["eval_tokens"] = stats.num_tokens;  // a whole number
    directory_.append_metrics(record.dump());
    session_.screen().print("step=" + std::to_string(trainer().state().global_step) +
                            " eval_loss=" + std::to_string(stats.loss) + '\n');
  }

  void record_totals() {
    auto record = totals_.record();
    record["step"] = trainer().state().global_step;
    directory_.append_metrics(record.dump());
    const auto& sums = totals_.sums();
    if (sums.truncated == 0) return;
    session_.log().warning(counted(sums.truncated, "sample") + " of " +
                           std::to_string(sums.num_samples) + " were cut to max_length (" +
                           options_.train.truncation_mode + ")");
  }

  int finish() {
    if (saved_step_ != trainer().state().global_step) trainer().save_at_end();
    trainer().save_model(options_.output_dir);
    session_.screen().print("done: " + counted(trainer().state().global_step, "update") +
                            ". Model, checkpoints and metrics.jsonl are in " +
                            options_.output_dir.string() + '\n');
    return static_cast<int>(ExitCode::Success);
  }

  Session& session_;
  const TrainCommandOptions& options_;
  RunDirectory directory_;
  std::filesystem::path model_folder_;
  std::string resolved_yaml_;
  Batch train_rows_;
  std::int64_t idle_samples_ = 0;  ///< that made no update since the last one
  std::int64_t saved_step_ = -1;   ///< of the newest checkpoint; -1: none
  RunTotals totals_;
  std::unique_ptr<TrainingJob> job_;
};

}  // namespace

int run_train(const CommandContext& context, Arguments arguments) {
  TrainCommandOptions options;
  OptionRegistry registry{"hone train", "Supervised fine-tuning on a file of samples."};
  options.bind(registry);
  if (!parse_options(context, registry, arguments)) return 0;
  options.resolve(registry.config_path());
  auto job = options.model.session_options();
  job.run_directory = options.output_dir;
  Session session{job, context.environment, context.screen};
  return session.run([&] {
    const auto yaml = registry.dump_yaml();
    require_equal_options(session.communicator(), yaml);
    return FileTraining{session, options, registry.config_path(), yaml}.run();
  });
}

}  // namespace hone::launcher
