#pragma once

#include <filesystem>

namespace hone {

struct EvalStats;
struct LogRecord;
struct StepStats;
struct TrainerState;
struct UpdateStats;

/// What a Trainer tells while it works. Called on every rank alike, in the order of add_callback();
/// a callback may call Trainer::request_stop() and nothing else of it that is collective.
/// Source: transformers' TrainerCallback; a "step" is an optimizer update, a "round" one step()
/// call.
class TrainerCallback {
 public:
  virtual ~TrainerCallback() = default;

  virtual void on_round_begin(const TrainerState&) {}
  virtual void on_round_end(const TrainerState&, const StepStats&) {}
  virtual void on_step_begin(const TrainerState&) {}
  /// After an update was applied, before a checkpoint that is due.
  virtual void on_step_end(const TrainerState&, const UpdateStats&) {}
  /// Every `logging_steps` updates.
  virtual void on_log(const TrainerState&, const LogRecord&) {}
  virtual void on_evaluate(const TrainerState&, const EvalStats&) {}
  virtual void on_save(const TrainerState&, const std::filesystem::path& checkpoint) {
    static_cast<void>(checkpoint);
  }
};

}  // namespace hone
