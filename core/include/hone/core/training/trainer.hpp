#pragma once

#include <cstdint>
#include <filesystem>
#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "hone/core/activity.hpp"
#include "hone/core/checkpoint_store.hpp"
#include "hone/core/communicator.hpp"
#include "hone/core/generation/generator.hpp"
#include "hone/core/gradient_reducer.hpp"
#include "hone/core/logger.hpp"
#include "hone/core/model/language_model.hpp"
#include "hone/core/stop_signal.hpp"
#include "hone/core/tokenizer.hpp"
#include "hone/core/training/batch.hpp"
#include "hone/core/training/batch_rows.hpp"
#include "hone/core/training/collator.hpp"
#include "hone/core/training/evaluate.hpp"
#include "hone/core/training/lr_schedule.hpp"
#include "hone/core/training/micro_batches.hpp"
#include "hone/core/training/optimizer.hpp"
#include "hone/core/training/phase_clock.hpp"
#include "hone/core/training/step_stats.hpp"
#include "hone/core/training/trainer_callback.hpp"
#include "hone/core/training/trainer_options.hpp"
#include "hone/core/training/trainer_state.hpp"

namespace hone {

namespace detail {
class GradientExchange;
}  // namespace detail

class CheckpointError;
class HostCopies;

/// Samples that a Trainer evaluates on.
struct EvalSet {
  std::string name;  ///< may be empty where there is but one set
  Batch batch;
};

/// What a Trainer works with; all must outlive it. The launcher's Session fills it, tests fill it
/// from fakes.
struct TrainerParts {
  LanguageModel& model;
  Communicator& communicator;
  GradientReducer& reducer;
  const Collator& collator;
  Logger& log;
  const Tokenizer* tokenizer = nullptr;     ///< needed for texts only
  CheckpointStore* checkpoints = nullptr;   ///< needed for save() and resume() only
  StopSignal* stop_signal = nullptr;        ///< null: never asked to stop
  Activity* activity = nullptr;             ///< told what this rank is at; null: nobody is
  std::unique_ptr<Optimizer> optimizer;     ///< null: by the options
  /// The rate of update `step`, from 0; equal on all ranks. Null: the schedule of the options.
  std::function<double(std::int64_t step)> learning_rate = nullptr;
  std::filesystem::path model_folder = {};  ///< its config and tokenizer go along with checkpoints
  std::vector<EvalSet> eval_sets = {};      ///< for evaluate() and eval_strategy
  EvalHooks eval_hooks = {};
  std::filesystem::path best_model_folder = {};  ///< where the best model is written, if it is looked for
};

/// Iterative supervised fine-tuning: between step() calls the caller does what it likes, generate
/// and filter say, with the weights that are being trained.
///
/// Collective: the constructor and every method but the plain getters; all ranks make the same
/// calls. Thread-safety: one thread.
/// Ownership: what `parts` refers to outlives it; a model has one trainer at a time.
class Trainer {
 public:
  /// Throws: ConfigError for options that do not fit, CommunicatorError where ranks hold different
  /// weights.
  Trainer(TrainerParts parts, TrainerOptions options);
  ~Trainer();

  /// One pass over the batch: ceil(samples / global_train_batch_size) optimizer updates (one with
  /// updates_per_step "one"). N ranks compute what one rank computes. Returns the same statistics
  /// on every rank.
  /// Throws: InputError for a bad sample, on every rank alike and before anything changed, and
  /// where a resumed call is given other samples than it began with; ConfigError after max_steps
  /// where past_max_steps is "error"; InputError where a collator drops or invents something, on
  /// every rank alike; DivergedError for a non-finite loss or gradient, naming rank and samples.
  /// With on_non_finite "skip" that update is left out instead, with a warning. After one of these
  /// that update is not applied, earlier ones are, and the call is over: the next one may be given
  /// other samples. Errors of callbacks, evaluation and saving come after the update, on every rank
  /// alike too; after one of an optimizer of one's own go on from a checkpoint.
  StepStats step(const Batch& batch);

  /// Completions of `prompts` under the current weights. Every rank passes the same prompts and
  /// gets those of its own share. What is sampled depends on (seed, call, prompt, k), not on the
  /// rank.
  std::vector<Completion> generate(std::span<const PromptTokens> prompts,
                                   const GenerationOptions& options);
  /// The same for texts, by the trainer's tokenizer; fills Completion::text.
  std::vector<Completion> generate(std::span<const std::string> prompts,
                                   const GenerationOptions& options);

  /// Loss over `batch` without training. Each sample counts once, whatever the rank count.
  EvalStats evaluate(const Batch& batch);
  /// The same over each of TrainerParts::eval_sets, with its hooks, in their order. Where a metric
  /// is looked after and is better than ever, state() notes it and the model is written to
  /// best_model_folder.
  std::vector<EvalStats> evaluate();

  /// Goes on from `checkpoint`, or from the newest valid one; false where there is none, and then
  /// nothing changed. Where it throws, weights and optimizer are unspecified: train with another
  /// Trainer.
  bool resume(const std::optional<std::filesystem::path>& checkpoint = std::nullopt);
  /// Writes checkpoint-<step>. Returns its folder. Throws: DivergedError for weights that are not
  /// finite.
  std::filesystem::path save();
  /// save() for a run that ends: where the disk fails, or the memory, there is a warning and one more try,
  /// whatever failed before.
  std::filesystem::path save_at_end();
  /// save() for a run that goes on and can do without: copies the state and returns, while a thread
  /// writes (async_save; else it waits). on_save() comes with a later update, or settle_save(). Where
  /// the disk fails, or the memory, there is a warning, and what was there stays; the third time in a row it throws.
  void save_behind();
  /// Sees that a checkpoint has room for the state (CheckpointError, Usage, where not), and with
  /// `behind` makes room for the copy of save_behind(), so that the first one takes no longer than the
  /// others. Done already where save_steps or save_minutes is set. Collective.
  void prepare_saves(bool behind = true);
  /// Whether another save would now take more of the time than save_max_overhead. The same on all
  /// ranks, as of the last update.
  bool saves_wait() const { return saves_wait_; }
  /// Waits for what save_behind() began, if anything. step() does, where it makes done() true, and
  /// calls save() where the last one had failed.
  void settle_save();
  /// What the caller has measured of the model as it is now, the same on all ranks: with
  /// save_total_limit the newest checkpoint that was the best when it was saved stays, too. Another name
  /// or direction begins anew. Returns whether it is the best. Throws: ConfigError where
  /// metric_for_best_model is set.
  bool note_metric(const std::string& name, double value, bool greater_is_better);
  /// Writes the model as a Hugging Face folder; rank 0 writes, all return when it is there.
  void save_model(const std::filesystem::path& folder);

  /// Moves the run's end, and the schedule with it: for callers whose max_steps depends on what
  /// resume() found, between that and the first step. Throws: ConfigError.
  void set_max_steps(std::int64_t max_steps);
  /// No call trains any more: max_steps is reached (and not to be passed), or a stop request was
  /// obeyed.
  bool done() const;
  /// A stop request was obeyed: everything is saved.
  bool stopped() const { return stopped_; }
  /// Looks at the stop signal between calls; where any rank was asked to stop, saves and makes
  /// done() true.
  bool stop_if_asked();

  /// Kept in checkpoints for the caller, from the next save on.
  void set_user_state(std::string text) { state_.user = std::move(text); }
  const TrainerState& state() const { return state_; }
  const TrainerOptions& options() const { return options_; }
  const LrSchedule& schedule() const { return schedule_; }
  LanguageModel& model() { return parts_.model; }

  /// Its methods are called from now on; it must outlive the trainer.
  void add_callback(TrainerCallback& callback) { callbacks_.push_back(&callback); }
  /// From a callback, or between calls: after the update at hand every rank saves (where it has a
  /// checkpoint store) and done() is true. One rank that asks is enough. Between calls,
  /// on_round_end included, that is the next call's first update, or stop_if_asked(). Not
  /// collective.
  void request_stop() { stop_requested_ = true; }

 private:
  struct Update;  // what one optimizer update works on; see trainer.cpp

  RowRules row_rules() const;
  void require_determinism();
  void prepare_optimizer();
  void require_evaluation_fits() const;
  double learning_rate_at(std::int64_t step) const;
  double rewarming(std::int64_t step) const;
  void require_not_past_end(std::int64_t step) const;
  bool at_end() const { return options_.max_steps > 0 && state_.global_step >= options_.max_steps; }
  void look_past_end();
  void warn_of_untrained(const StepStats& stats, std::span<const std::vector<std::int64_t>> pending);
  void require_equal_options() const;
  void require_finite_parameters() const;
  void begin_call(const GlobalRows& rows);
  void forget_optimizer_state();
  void judge(Update& update);
  bool has_finite_gradient(const PackedBatch& micro, double scale);
  std::string describe_non_finite(const Update& update);
  std::int64_t whole_steps(double steps) const;
  void log_if_due(const UpdateStats& update);
  template <typename... Parameters, typename... Arguments>
  void tell(void (TrainerCallback::*event)(const TrainerState&, Parameters...),
            const Arguments&... arguments) {
    tell_of(state_, event, arguments...);
  }
  template <typename... Parameters, typename... Arguments>
  void tell_of(const TrainerState& state,
               void (TrainerCallback::*event)(const TrainerState&, Parameters...),
               const Arguments&... arguments) {
    keep_failure([&] {
      for (auto* callback : callbacks_) (callback->*event)(state, arguments...);
    });
  }
  /// Runs what may fail on one rank alone; the ranks agree on it at the end of the update or the
  /// call.
  template <typename Function>
  void keep_failure(Function&& local) {
    auto failure = failure_of(std::forward<Function>(local));
    if (!failure_.happened()) failure_ = std::move(failure);
  }
  std::vector<RowDeal> deals_of(const GlobalRows& rows,
                                std::span<const std::vector<std::int64_t>> updates) const;
  Update begin_update(std::span<const TokenRow> rows, const RowDeal& deal);
  void accumulate_gradients(Update& update);
  at::Tensor forward_backward(const PackedBatch& micro, double scale);
  void reduce_gradients(const Update& update);
  void agree_on(Update& update);
  void clip_and_apply(const Update& update);
  void share_parameters();
  bool is_sharded() const { return options_.optimizer_sharding != "none"; }
  /// After reduce_gradients() a rank has sums of its own part only.
  bool sums_are_dealt() const { return is_sharded() && !parts_.reducer.is_deterministic(); }
  void record(const Update& update, StepStats& stats);
  bool evaluate_if_due(const Update& update, StepStats& stats);
  void note_best(const Metrics& metrics);
  bool update_best(const std::string& name, double value, bool greater_is_better);
  void save_if_due(const Update& update, StopRequest asked);
  template <typename Save>
  StopRequest asked_behind(StopRequest asked, Save&& save);
  void hand_over(const std::function<void(const CheckpointContent&)>& take);
  void tell_of_save(const TrainerState& saved, const std::filesystem::path& folder);
  void warn_of_another_model(const std::filesystem::path& checkpoint);
  void do_without(const CheckpointError& error);
  bool saves_should_wait() const;
  bool save_time_is_up() const;
  std::vector<std::int64_t> replica_digests_if_due(const Update& update);
  StopRequest agree_behind(const Update& update);
  [[noreturn]] void fail_diverged(const std::vector<std::int64_t>& digests);
  StopRequest agreed_request(const std::vector<std::int64_t>& replica_digests = {});
  void finish(StepStats& stats, double started);
  std::size_t updates_done_in_call() const {
    return static_cast<std::size_t>(state_.updates_in_call);
  }
  void end_call();
  void turn_to(std::string_view phase) {
    if (parts_.activity != nullptr) parts_.activity->enter(phase);
  }
  std::int64_t samples_per_update(std::int64_t num_samples) const;
  std::vector<TensorBytes> tensors(HostCopies* to_load = nullptr);
  void restore(const std::filesystem::path& checkpoint);

  TrainerParts parts_;
  TrainerOptions options_;
  LrSchedule schedule_;
  Sharding sharding_;
  std::vector<ParameterSlice> summed_slices_;  ///< of which a rank has the gradients' sums
  std::unique_ptr<detail::GradientExchange> exchange_;
  std::unique_ptr<Optimizer> optimizer_;
  TrainerState state_;
  bool stopped_ = false;
  bool stop_requested_ = false;
  bool warned_of_end_ = false;
  std::int64_t saves_requested_ = 0;  ///< of this rank, since it began
  std::int64_t saves_agreed_ = 0;     ///< the most of any rank; equal on all, as the next
  std::int64_t saves_obeyed_ = 0;     ///< of them, what the last save() came behind
  int failed_saves_ = 0;              ///< in a row
  std::int64_t saved_step_ = -1;      ///< of the last save, where it succeeded; else -1
  double saves_obeyed_at_ = 0.0;      ///< when the last save ended
  double save_began_at_ = 0.0;        ///< when the last save, or the run, began
  double save_seconds_ = 0.0;         ///< that training lost by the last save, on this rank
  std::optional<TrainerState> saving_;  ///< of the save that is being written behind training
  bool save_is_settled_ = false;      ///< any rank has something to say of it; equal on all ranks
  bool save_is_due_ = false;          ///< by save_steps; equal on all ranks
  bool saves_wait_ = false;           ///< as save_max_overhead has it; equal on all ranks
  std::vector<TrainerCallback*> callbacks_;
  std::vector<GlobalRows> eval_rows_;  ///< of the evaluation sets
  PhaseClock clock_{nullptr};  ///< of the call at hand
  LocalFailure failure_;  ///< the first that ranks have not agreed on yet: of callbacks, the optimizer
};

}  // namespace hone
