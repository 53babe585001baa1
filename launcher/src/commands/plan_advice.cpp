#include "commands/plan_advice.hpp"

#include <algorithm>
#include <functional>
#include <utility>

namespace hone::launcher {
namespace {

bool sends_in_node(const PlanOptions& options, const Plan& plan) {
  return plan.ranks > 1 && options.ranks_per_node > 1;
}

std::string joined(const std::vector<std::string>& words) {
  std::string text;
  for (const auto& word : words) text += (text.empty() ? "" : ", ") + word;
  return text;
}

template <typename Predicate>
bool any(const std::vector<Plan>& plans, Predicate&& predicate) {
  return std::ranges::any_of(plans, predicate);
}

/// Options that a prediction of times lacks.
std::vector<std::string> missing_speeds(const PlanOptions& options,
                                        const std::vector<Plan>& plans) {
  std::vector<std::string> missing;
  const auto in_node = [&](const Plan& plan) { return sends_in_node(options, plan); };
  if (!options.tflops) missing.push_back("--tflops");
  if (!options.node_link_gb_per_second && any(plans, in_node)) {
    missing.push_back("--node_link_gb_per_second");
  }
  if (!options.link_gb_per_second && any(plans, [](const Plan& p) { return p.nodes > 1; })) {
    missing.push_back("--link_gb_per_second");
  }
  return missing;
}

/// Speeds that a prediction took at their defaults.
std::vector<std::string> assumed_speeds(const PlanOptions& options,
                                        const std::vector<Plan>& plans) {
  std::vector<std::string> assumed;
  const auto in_node = [&](const Plan& p) { return p.time && sends_in_node(options, p); };
  const auto across = [](const Plan& p) { return p.time && p.nodes > 1; };
  if (options.node_link_latency_us == 0 && any(plans, in_node)) {
    assumed.push_back("--node_link_latency_us 0");
  }
  if (options.link_latency_us == 0 && any(plans, across)) {
    assumed.push_back("--link_latency_us 0");
  }
  return assumed;
}

std::string ranks_without_time(const std::vector<Plan>& plans) {
  std::vector<std::string> ranks;
  for (const auto& plan : plans) {
    if (!plan.time) ranks.push_back(std::to_string(plan.ranks));
  }
  return joined(ranks);
}

constexpr const char* kSources =
    "docs/scaling.md has published figures; hone bench allreduce measures links";

/// One thing to change in the options, with its name.
using Edit = std::pair<std::string, std::function<void(PlanOptions&)>>;

/// Fewer samples at once, as many in an update: `size` divides those of a rank.
void shrink_batch(PlanOptions& options, std::int64_t size) {
  options.gradient_accumulation_steps = options.samples_of_rank() / size;
  options.per_device_train_batch_size = size;
}

std::vector<std::int64_t> totals_of(const PlanOptions& options) {
  const Planner planner{options};
  std::vector<std::int64_t> totals;
  for (const auto ranks : options.ranks) totals.push_back(planner.of(ranks).memory.total());
  return totals;
}

bool all_fit(const PlanOptions& options, const std::vector<std::int64_t>& totals) {
  return std::ranges::all_of(totals, [&](std::int64_t total) { return fits(options, total); });
}

/// The largest smaller batch with which all fits, of those that make as large an update; else 1.
std::int64_t batch_that_fits(const PlanOptions& options) {
  for (auto size = options.per_device_train_batch_size / 2; size > 1; --size) {
    if (options.samples_of_rank() % size != 0) continue;
    auto smaller = options;
    shrink_batch(smaller, size);
    if (all_fit(smaller, totals_of(smaller))) return size;
  }
  return 1;
}

std::vector<Edit> edits_of(const PlanOptions& options) {
  const auto size = batch_that_fits(options);
  return {
      {"dtype bfloat16", [](PlanOptions& o) { o.dtype = "bfloat16"; }},
      {"gradient_checkpointing", [](PlanOptions& o) { o.gradient_checkpointing = true; }},
      {"optimizer_sharding zero1", [](PlanOptions& o) { o.optimizer_sharding = "zero1"; }},
      {"async_save false", [](PlanOptions& o) { o.async_save = false; }},
      {"per_device_train_batch_size " + std::to_string(size),
       [size](PlanOptions& o) { shrink_batch(o, size); }}};
}

}  // namespace

std::vector<std::string> notes_of(const PlanOptions& options, const Planner& planner,
                                  const std::vector<Plan>& plans) {
  std::vector<std::string> notes;
  if (planner.length() > planner.max_positions()) {
    notes.push_back("max_length " + std::to_string(planner.length()) + " is beyond the " +
                    std::to_string(planner.max_positions()) +
                    " positions of the model's config.json");
  }
  const auto without = ranks_without_time(plans);
  if (!without.empty()) {
    notes.push_back("no times for --ranks " + without + ": they need " +
                    joined(missing_speeds(options, plans)) + " (" + kSources + ')');
  }
  const auto assumed = assumed_speeds(options, plans);
  if (!assumed.empty()) {
    notes.push_back("the times assume " + joined(assumed) + " (" + kSources + ')');
  }
  return notes;
}

bool fits(const PlanOptions& options, std::int64_t total) {
  return !options.memory_gb || static_cast<double>(total) <= *options.memory_gb * 1e9;
}

std::vector<Change> changes_that_help(const PlanOptions& options, const std::vector<Plan>& plans) {
  std::vector<std::int64_t> now;
  for (const auto& plan : plans) now.push_back(plan.memory.total());
  if (all_fit(options, now)) return {};
  std::vector<Change> changes;
  auto together = options;
  for (const auto& [name, edit] : edits_of(options)) {
    auto changed = options;
    edit(changed);
    auto totals = totals_of(changed);
    const auto helps = [&](std::size_t i) { return totals[i] < now[i]; };
    bool any_helped = false;
    for (std::size_t i = 0; i < totals.size(); ++i) any_helped = any_helped || helps(i);
    if (!any_helped) continue;
    edit(together);
    changes.push_back({name, std::move(totals)});
  }
  if (changes.size() > 1) {
    shrink_batch(together, 1);
    changes.push_back({"all of these, batch size 1", totals_of(together)});
  }
  return changes;
}

}  // namespace hone::launcher
