#include "hone/launcher/loop_options.hpp"

#include "hone/core/error.hpp"

namespace hone::launcher {

void LoopOptions::bind(OptionRegistry& registry) {
  registry.add_config_option(/*positional=*/true);
  model.bind(registry);
  auto run = registry.group("Run");
  run.add("output_dir", &output_dir, "The run directory.").required();
  run.add("seed", &seed, "Keys every random number of the run.", non_negative());
  run.add("num_rounds", &num_rounds, "Rounds of generate, score, keep, train.", at_least(1));
  resume.bind(run);
  auto prompts = registry.group("Prompts", "prompts.");
  prompts.add("file", &prompts_file, "JSON lines with \"prompt\" and what the reward needs.")
      .required();
  prompts.add("per_round", &prompts_per_round, "Prompts of a round, over all ranks.", at_least(1));
  register_generation_options(registry, generate, "generate.");
  auto score = registry.group("Reward", "reward.");
  score.add_choice("check", &reward.check, "A built-in check, 1 or 0.",
                   {"", "exact", "regex", "number"});
  score.add("field", &reward.field, "The key of a prompt's line that holds the answer or pattern.");
  score.add("pattern", &reward.pattern, "regex: one pattern for all prompts (RE2 syntax).");
  score.add_choice("match", &reward.match, "regex: where the pattern must match.",
                   {"search", "full"});
  score.add_choice("take", &reward.take, "number: which number of the completion counts.",
                   {"last", "first"});
  score.add("command", &reward.command,
            "A program and its arguments that reads JSON lines and writes a reward for each.");
  score.add("timeout", &reward_timeout_seconds,
            "Seconds that the program has for one rank's completions of a round.", positive());
  score.add("shuffle", &shuffle_rewards,
            "Control experiment: deal the rewards out anew among the round's completions.");
  auto rule = registry.group("Keep", "keep.");
  rule.add("all", &keep.all, "Train on every completion.");
  rule.add("threshold", &keep.threshold, "Keep rewards of at least this.");
  rule.add("best_of", &keep.best_of, "Keep at most this many per prompt, the best.", at_least(1));
  rule.add_choice("dedup", &keep.dedup, "Drop completions of a prompt that came before.",
                  {{"none", DedupRule::None}, {"exact", DedupRule::Exact}});
  register_trainer_options(registry, train, "train.");
  registry.group("Samples", "train.")
      .add("completion_only_loss", &completion_only_loss, "Do not train the prompts' tokens.");
  auto eval = registry.group("Evaluation", "eval.");
  eval.add("file", &eval_file, "Prompts that are answered greedily and scored; empty: none.");
  eval.add("every_rounds", &eval_every_rounds, "Evaluate after every so many rounds.", at_least(1));
  auto save = registry.group("Checkpoints", "save.");
  save.add_choice("strategy", &save_strategy, "When to write checkpoints.",
                  {"round", "steps", "time", "no"});
  save.add("steps", &save_steps, "Updates between checkpoints under strategy steps.",
           non_negative());
  save.add("minutes", &save_minutes, "Minutes between checkpoints under strategy time.",
           non_negative());
  save_limits.bind(save);
}

void LoopOptions::resolve(const std::filesystem::path& config) {
  prompts_file = resolve_beside(prompts_file, config);
  if (!eval_file.empty()) eval_file = resolve_beside(eval_file, config);
  if (save_strategy == "steps" && save_steps == 0) {
    throw ConfigError{"save.strategy steps needs save.steps > 0"};
  }
  if (save_strategy == "time" && save_minutes == 0) {
    throw ConfigError{"save.strategy time needs save.minutes > 0"};
  }
  require_valid(keep);
  for (std::size_t i = 0; i < reward.command.size(); ++i) {
    // A first word without a slash is looked up in PATH, as in a shell.
    const bool is_path = i > 0 || reward.command[i].find('/') != std::string::npos;
    if (is_path) reward.command[i] = resolve_beside(reward.command[i], config).string();
  }
  generate.validate();
  reward.timeout = std::chrono::milliseconds{static_cast<std::int64_t>(reward_timeout_seconds * 1e3)};
  train.seed = seed;
  train.save_steps = save_strategy == "steps" ? save_steps : 0;
  train.save_minutes = save_strategy == "time" ? save_minutes : 0.0;
  train.save_max_overhead = save_limits.max_overhead;
  train.validate();
}

}  // namespace hone::launcher
