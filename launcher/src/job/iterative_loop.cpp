#include "hone/launcher/iterative_loop.hpp"

#include <algorithm>
#include <chrono>

#include "hone/core/data/encoding.hpp"
#include "hone/core/error.hpp"
#include "hone/core/training/token_row.hpp"
#include "hone/launcher/loop/prompt_order.hpp"
#include "job/prompt_room.hpp"
#include "job/start_line.hpp"

namespace hone::launcher {
namespace {

/// Keys the shuffled-rewards control apart from other numbers of the seed.
constexpr std::uint64_t kShufflePurpose = 0x73687566;  // "shuf"
/// Evaluation answers that are kept for the closing example.
constexpr std::int64_t kNumRememberedAnswers = 32;

class Stopwatch {
 public:
  double lap() {
    const auto now = std::chrono::steady_clock::now();
    const std::chrono::duration<double> elapsed = now - last_;
    last_ = now;
    return elapsed.count();
  }

 private:
  std::chrono::steady_clock::time_point last_ = std::chrono::steady_clock::now();
};

double slowest(Communicator& comm, double seconds) {
  comm.all_reduce(&seconds, 1, DType::Float64, ReduceOp::Max);
  return seconds;
}

std::vector<PromptRow> read_agreed(Communicator& comm, const std::filesystem::path& file,
                                   const Reward& reward) {
  std::vector<PromptRow> rows;
  run_agreed(comm, [&] {
    if (file.empty()) return;
    rows = read_prompts(file);
    reward.check_prompts(rows);
  });
  return rows;
}

std::vector<PromptTokens> encode_all(const Tokenizer& tokenizer, std::span<const PromptRow> rows,
                                     std::span<const std::int64_t> which) {
  std::vector<PromptTokens> prompts;
  for (std::size_t i = 0; i < which.size(); ++i) {
    const auto& row = rows[static_cast<std::size_t>(which[i])];
    prompts.push_back({encode_prompt(tokenizer, row.prompt), static_cast<std::int64_t>(i)});
  }
  return prompts;
}

std::vector<std::int64_t> count_up(std::size_t count) {
  std::vector<std::int64_t> numbers(count);
  for (std::size_t i = 0; i < count; ++i) numbers[i] = static_cast<std::int64_t>(i);
  return numbers;
}

}  // namespace

IterativeLoop::IterativeLoop(Session& session, const LoopOptions& options, Reward& reward,
                             const std::filesystem::path& config,
                             const std::string& resolved_yaml)
    : session_(session),
      options_(options),
      reward_(reward),
      prompts_(read_agreed(session.communicator(), options.prompts_file, reward)),
      eval_prompts_(read_agreed(session.communicator(), options.eval_file, reward)),
      directory_(session.communicator(), options.output_dir, options.resume.resume_from_checkpoint,
                 session.log()),
      job_(session, load(config), options.train,
           options.save_limits.store_in(options.output_dir)),
      report_(session.screen(), directory_, options.num_rounds, !options.reward.check.empty()),
      resolved_yaml_(resolved_yaml) {}

/// What is wrong is found before the time that loading takes, or right after it.
LoadedModel IterativeLoop::load(const std::filesystem::path& config) {
  auto& comm = session_.communicator();
  session_.open_logs(options_.output_dir);  // not before the directory is this run's own
  run_agreed(comm, [&] { reward_.require_ready(); });
  auto loaded = load_for_session(session_, options_.model.folder(config),
                                 options_.model.load_options(true));
  for (const auto* prompts : {&prompts_, &eval_prompts_}) {
    require_room(comm, loaded, *prompts, options_.generate.max_new_tokens);
  }
  return loaded;
}

int IterativeLoop::run() {
  Stopwatch total;
  start();
  const bool saves_behind = options_.save_strategy == "round" && rounds_done() + 1 < options_.num_rounds;
  // The last round's save needs no copy.
  if (options_.save_strategy != "no") trainer().prepare_saves(saves_behind);
  while (rounds_done() < options_.num_rounds && !trainer().done()) run_round();
  if (trainer().stopped()) {
    report_.show_stop(trainer().state().global_step);
    return static_cast<int>(ExitCode::Stopped);
  }
  trainer().save_model(options_.output_dir);
  report_.show_end(trainer().state().global_step, trainer().state().tokens_seen, total.lap(),
                   options_.save_strategy == "no" ? "" : how_to_go_on());
  return static_cast<int>(ExitCode::Success);
}

/// The flags that make the same command do more.
std::string IterativeLoop::how_to_go_on() {
  const std::string more = rounds_done() >= options_.num_rounds
                               ? "--num_rounds " + std::to_string(2 * rounds_done())
                               : "--train.max_steps " +
                                     std::to_string(2 * trainer().state().global_step);
  return "--resume_from_checkpoint auto " + more;
}

/// A model that was tuned on conversations rarely answers a bare text.
void IterativeLoop::warn_of_plain_prompts() {
  if (!job_.tokenizer().has_chat_template()) return;
  const auto is_text = [](const PromptRow& row) {
    return std::holds_alternative<std::string>(row.prompt);
  };
  const auto num_texts = std::count_if(prompts_.begin(), prompts_.end(), is_text);
  if (num_texts == 0) return;
  session_.log().warning(std::to_string(num_texts) + " of " + std::to_string(prompts_.size()) +
                         " prompts are plain text, which the model continues as it is. It has a "
                         "chat template, which is used for {\"prompt\": [{\"role\": \"user\", "
                         "\"content\": ...}]}");
}

void IterativeLoop::start() {
  const bool resumed = job_.resume(options_.resume);
  if (rounds_done() > options_.num_rounds) {
    throw ConfigError{"the checkpoint is from after round " + std::to_string(rounds_done()) +
                      ", num_rounds is " + std::to_string(options_.num_rounds) +
                      ". Go on: --num_rounds of more than " + std::to_string(rounds_done())};
  }
  const auto& state = trainer().state();
  if (resumed) report_.restore(state.user);
  job_.record_options(directory_, resolved_yaml_, resumed);
  const auto recorded = std::min(report_.recorded_round(), rounds_over());
  directory_.discard_metrics_after(resumed ? state.global_step : -1, recorded);
  report_.show_start(session_.describe(), options_.model.model_name_or_path, prompts_.size(),
                     eval_prompts_.size(),
                     options_in_effect(options_.train, options_.model.bf16, session_.size()));
  if (!resumed) warn_of_plain_prompts();
  trainer().add_callback(*this);
  // Round 0 is the evaluation before training; it has no samples, and is made below where it is
  // due.
  if (resumed && rounds_over() > 0 && recorded < rounds_over()) {
    Pool pool = reload_pool(rounds_over());
    pool.figures.train = report_.whole_round({.step = state.global_step});
    end_round(pool.figures);
  }
  if (eval_prompts_.empty() || report_.has_initial_eval()) return;
  RoundFigures before;
  evaluate(before);
  report_.log_round(before);
}

void IterativeLoop::on_step_end(const TrainerState&, const UpdateStats& update) {
  session_.note_step(update.step);
  report_.log_update(update, rounds_done() + 1);
  trainer().set_user_state(report_.state());
}

void IterativeLoop::run_round() {
  const auto round = rounds_done() + 1;
  // A checkpoint may lie between two updates of the round, or between its sampling and the first.
  // Sampled again, the round would draw the numbers of the next one.
  const bool was_sampled =
      trainer().state().updates_in_call > 0 || trainer().state().generate_call >= round;
  Pool pool = was_sampled ? reload_pool(round) : make_pool(round);
  trainer().set_user_state(report_.state());
  if (trainer().stop_if_asked()) return;

  Stopwatch watch;
  pool.figures.train = report_.whole_round(trainer().step(training_batch(pool)));
  if (!trainer().stopped()) require_progress(pool.figures);
  pool.figures.seconds.train = slowest(session_.communicator(), watch.lap());
  // Who asks for a stop is in a hurry: what is left of the round, the resumed run does.
  if (!trainer().stopped()) end_round(pool.figures);
}

/// A model that on_non_finite "skip" cannot save writes nothing worth keeping either.
void IterativeLoop::require_progress(const RoundFigures& figures) {
  const auto& stats = figures.train;
  if (stats.updates > 0 || stats.non_finite == 0) return;
  throw DivergedError{"no update of round " + std::to_string(figures.round) +
                      " was finite, all were left out. Lower learning_rate, and go on from an "
                      "earlier checkpoint"};
}

void IterativeLoop::end_round(RoundFigures& figures) {
  const bool is_last = figures.round == options_.num_rounds || trainer().done();
  if (!eval_prompts_.empty() && (is_last || figures.round % options_.eval_every_rounds == 0)) {
    evaluate(figures);
  }
  report_.log_round(figures);
  trainer().set_user_state(report_.state());
  const bool is_by_clock = options_.save_strategy == "time";
  if (options_.save_strategy == "no" || (is_by_clock && !is_last)) return;
  if (is_last) {
    trainer().save_at_end();
  } else if (!trainer().saves_wait()) {
    trainer().save_behind();
  }
}

/// Rounds that train no more: done, or cut off by max_steps.
std::int64_t IterativeLoop::rounds_over() {
  const bool cut_off = trainer().done() && trainer().state().updates_in_call > 0;
  return rounds_done() + (cut_off ? 1 : 0);
}

IterativeLoop::Pool IterativeLoop::make_pool(std::int64_t round) {
  const auto rows = prompts_of_round(static_cast<std::uint64_t>(options_.seed), round - 1,
                                     options_.prompts_per_round,
                                     static_cast<std::int64_t>(prompts_.size()));
  const auto prompts = encode_all(job_.tokenizer(), prompts_, rows);
  Stopwatch watch;
  const auto drafts = trainer().generate(prompts, options_.generate);
  const double generate_seconds = watch.lap();
  Pool pool = judged(round, drafts, rows, prompts);
  pool.figures.seconds.generate = slowest(session_.communicator(), generate_seconds);
  pool.figures.seconds.score = slowest(session_.communicator(), watch.lap());
  report_.begin_round(round, directory_.write_samples(round, pool.records));
  if (pool.figures.counts.kept == 0) {
    session_.log().warning("round " + std::to_string(round) + " keeps none of its " +
                           std::to_string(pool.figures.counts.generated) +
                           " completions, so it trains nothing. Look at them in " +
                           directory_.samples_file(round).string());
  }
  return pool;
}

IterativeLoop::Pool IterativeLoop::judged(std::int64_t round,
                                          std::span<const hone::Completion> drafts,
                                          std::span<const std::int64_t> rows_of_round,
                                          std::span<const PromptTokens> prompts) {
  auto& comm = session_.communicator();
  std::vector<Completion> completions;
  for (const auto& draft : drafts) {
    const auto place = rows_of_round[static_cast<std::size_t>(draft.prompt_index)];
    const auto& row = prompts_[static_cast<std::size_t>(place)];
    completions.push_back({.prompt_index = draft.prompt_index,
                           .k = draft.k,
                           .prompt = render_prompt(job_.tokenizer(), row.prompt),
                           .completion = draft.text,
                           .row = &row});
  }
  const auto rewards = score(completions);
  std::vector<KeepCandidate> candidates;
  for (std::size_t i = 0; i < completions.size(); ++i) {
    candidates.push_back({completions[i].prompt_index, completions[i].k, rewards[i],
                          completions[i].prompt, completions[i].completion});
  }
  std::optional<KeyedRandom> shuffle;
  if (options_.shuffle_rewards) {
    shuffle.emplace(static_cast<std::uint64_t>(options_.seed), kShufflePurpose,
                    static_cast<std::uint64_t>(round));
  }
  const auto decision = decide_kept(comm, options_.keep, candidates, shuffle);

  Pool pool{.figures = {.round = round, .counts = decision.counts}};
  for (std::size_t i = 0; i < drafts.size(); ++i) {
    const auto& prompt = prompts[static_cast<std::size_t>(drafts[i].prompt_index)];
    pool.records.push_back({.round = round,
                            .step = trainer().state().global_step,
                            .prompt_index = drafts[i].prompt_index,
                            .k = drafts[i].k,
                            .rank = session_.rank(),
                            .prompt = completions[i].prompt,
                            .completion = completions[i].completion,
                            .prompt_ids = prompt.ids,
                            .completion_ids = drafts[i].ids,
                            .finish_reason = std::string{name_of(drafts[i].finish_reason)},
                            .reward = rewards[i],
                            .kept = decision.outcomes[i] == KeepOutcome::Kept,
                            .outcome = std::string{name_of(decision.outcomes[i])}});
  }
  fill_means(pool);
  return pool;
}

/// Of all ranks' records: the same bits on as many ranks, whether they were just made or come from
/// the file.
void IterativeLoop::fill_means(Pool& pool) {
  double sums[4] = {0, 0, 0, 0};
  for (const auto& record : pool.records) {
    sums[0] += 1;
    sums[1] += record.reward;
    sums[2] += static_cast<double>(record.completion_ids.size());
    sums[3] += record.finish_reason == name_of(FinishReason::Length) ? 1 : 0;
  }
  all_reduce_sum(session_.communicator(), std::span<double>{sums});
  pool.figures.reward = sums[1] / sums[0];
  pool.figures.completion_tokens = sums[2] / sums[0];
  pool.figures.clipped_ratio = sums[3] / sums[0];
}

IterativeLoop::Pool IterativeLoop::reload_pool(std::int64_t round) {
  const auto all = directory_.read_samples(round, report_.samples_digest(round));
  if (!all) {
    throw InputError{directory_.samples_file(round).string() +
                         " is missing, but the checkpoint was made before that round was complete. "
                         "Resume from an earlier checkpoint, between two rounds, with another "
                         "--output_dir",
                     ExitCode::MissingInput};
  }
  Pool pool{.figures = {.round = round}};
  auto& figures = pool.figures;
  for (const auto& record : *all) {
    ++figures.counts.generated;
    figures.counts.kept += record.kept ? 1 : 0;
    figures.counts.below_threshold += record.outcome == name_of(KeepOutcome::BelowThreshold);
    figures.counts.duplicate += record.outcome == name_of(KeepOutcome::Duplicate);
    figures.counts.not_best += record.outcome == name_of(KeepOutcome::NotBest);
    // Any rank may hold any sample, but on as many ranks the same ones give the same bits: who has
    // what decides where it is trained.
    if (record.rank % session_.size() != session_.rank()) continue;
    pool.records.push_back(record);
  }
  fill_means(pool);
  return pool;
}

Batch IterativeLoop::training_batch(const Pool& pool) {
  const bool is_encoder_decoder = trainer().model().shape().is_encoder_decoder;
  Batch batch{.scope = BatchScope::PerRank};
  for (const auto& record : pool.records) {
    if (!record.kept) continue;
    TokenIds ids = record.prompt_ids, labels = record.completion_ids;
    if (!is_encoder_decoder) {
      ids.insert(ids.end(), labels.begin(), labels.end());
      const auto prompt = options_.completion_only_loss
                              ? TokenIds(record.prompt_ids.size(), kIgnoredLabel)
                              : record.prompt_ids;
      labels.insert(labels.begin(), prompt.begin(), prompt.end());
    }
    batch.input_ids.push_back(std::move(ids));
    batch.labels.push_back(std::move(labels));
    batch.order.push_back(record.prompt_index * options_.generate.num_return_sequences + record.k);
  }
  return batch;
}

std::vector<double> IterativeLoop::score(std::span<const Completion> completions) {
  std::vector<double> rewards;
  session_.activity().enter("score");
  run_agreed(session_.communicator(), [&] { rewards = reward_.score(completions); });
  return rewards;
}

void IterativeLoop::evaluate(RoundFigures& figures) {
  auto& comm = session_.communicator();
  Stopwatch watch;
  const auto everything = count_up(eval_prompts_.size());
  const auto prompts = encode_all(job_.tokenizer(), eval_prompts_, everything);
  auto options = options_.generate;
  options.do_sample = false;
  options.num_return_sequences = 1;
  std::vector<Completion> completions;
  for (const auto& draft : trainer().generate(prompts, options)) {
    const auto& row = eval_prompts_[static_cast<std::size_t>(draft.prompt_index)];
    completions.push_back({.prompt_index = draft.prompt_index,
                           .prompt = render_prompt(job_.tokenizer(), row.prompt),
                           .completion = draft.text,
                           .row = &row});
  }
  const auto rewards = score(completions);
  double sums[2] = {0, static_cast<double>(rewards.size())};
  std::vector<EvalAnswer> answers;
  for (std::size_t i = 0; i < rewards.size(); ++i) {
    sums[0] += rewards[i];
    if (completions[i].prompt_index < kNumRememberedAnswers) {
      answers.push_back({completions[i].prompt_index, completions[i].prompt,
                         completions[i].completion, rewards[i]});
    }
  }
  all_reduce_sum(comm, std::span<double>{sums});
  figures.eval_reward = sums[0] / sums[1];
  report_.note_eval(*figures.eval_reward, gather_answers(comm, answers));
  trainer().note_metric("eval_reward", *figures.eval_reward, /*greater_is_better=*/true);
  figures.seconds.eval = slowest(comm, watch.lap());
}

}  // namespace hone::launcher
