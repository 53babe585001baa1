#include <algorithm>
#include <cstdio>
#include <nlohmann/json.hpp>
#include <string>
#include <utility>
#include <vector>

#include "commands/plan_advice.hpp"
#include "commands/plan_options.hpp"
#include "commands/planner.hpp"
#include "hone/launcher/commands.hpp"

namespace hone::launcher {
namespace {

using nlohmann::ordered_json;

std::vector<std::pair<std::string, std::int64_t>> rows_of(const MemoryPlan& plan) {
  return {{"parameters", plan.parameters}, {"masters", plan.masters},
          {"gradients", plan.gradients},   {"wire", plan.wire},
          {"optimizer", plan.optimizer},
          {"activations", plan.activations}, {"kv_cache", plan.kv_cache},
          {"checkpoint_copy", plan.checkpoint_copy},
          {"samples", plan.samples},
          {"process", plan.process},
          {"total", plan.total()},         {"shared", plan.shared},
          {"resident", plan.resident()}};
}

ordered_json json_of(const Plan& plan) {
  ordered_json memory;
  for (const auto& [name, bytes] : rows_of(plan.memory)) memory[name] = bytes;
  ordered_json json{{"ranks", plan.ranks},
                    {"nodes", plan.nodes},
                    {"update_samples", plan.update_samples},
                    {"rank_bytes", memory},
                    {"node_bytes", plan.memory.total() * plan.ranks_on_node},
                    {"traffic_bytes", plan.traffic_bytes}};
  if (!plan.time) return json;
  json["computing_seconds"] = plan.time->computing;
  json["communication_seconds"] = plan.time->communication;
  json["exposed_seconds"] = plan.time->exposed;
  json["step_seconds"] = plan.time->total();
  json["tokens_per_second"] = plan.tokens_per_second;
  json["efficiency"] = plan.time->computing / plan.time->total();
  return json;
}

std::string gigabytes(std::int64_t bytes) {
  char text[32];
  std::snprintf(text, sizeof text, "%.3f GB", static_cast<double>(bytes) * 1e-9);
  return text;
}

std::string number(const char* format, double value) {
  char text[32];
  std::snprintf(text, sizeof text, format, value);
  return text;
}

constexpr std::size_t kNameColumns = 26;

/// A line of the table: a name, and what is said of each plan.
std::string line_of(const std::string& name, const std::vector<std::string>& values,
                    std::size_t name_columns = kNameColumns) {
  std::string text = "  " + name;
  text.resize(name_columns, ' ');
  for (const auto& value : values) {
    text += std::string(value.size() < 15 ? 15 - value.size() : 1, ' ') + value;
  }
  return text + '\n';
}

template <typename Cell>
std::string line(const std::string& name, const std::vector<Plan>& plans, Cell&& cell) {
  std::vector<std::string> values;
  for (const auto& plan : plans) values.push_back(cell(plan));
  return line_of(name, values);
}

std::string memory_text(const std::vector<Plan>& plans) {
  std::string text = "\nbytes of each rank\n";
  const auto names = rows_of(plans.front().memory);
  for (std::size_t i = 0; i < names.size(); ++i) {
    const auto bytes = [&](const Plan& plan) { return rows_of(plan.memory)[i].second; };
    if (std::ranges::all_of(plans, [&](const Plan& plan) { return bytes(plan) == 0; })) continue;
    const bool says_more = std::ranges::any_of(
        plans, [](const Plan& plan) { return plan.memory.shared > 0; });
    if (names[i].first == "resident" && !says_more) continue;
    text += line(names[i].first, plans, [&](const Plan& plan) { return gigabytes(bytes(plan)); });
  }
  return text + line("total of a node", plans, [](const Plan& plan) {
           return gigabytes(plan.memory.total() * plan.ranks_on_node);
         });
}

std::string update_text(const std::vector<Plan>& plans) {
  std::string text = "\nan update\n";
  text += line("samples", plans, [](const Plan& p) { return std::to_string(p.update_samples); });
  text += line("sent by each rank", plans,
               [](const Plan& p) { return gigabytes(p.traffic_bytes); });
  const auto is_timed = [](const Plan& plan) { return plan.time.has_value(); };
  if (std::ranges::none_of(plans, is_timed)) return text;
  const auto times = [&](const std::string& name, auto&& value) {
    text += line(name, plans, [&](const Plan& plan) {
      return plan.time ? value(plan) : std::string{"-"};
    });
  };
  times("computing, s", [](const Plan& p) { return number("%.4f", p.time->computing); });
  times("communication, s", [](const Plan& p) { return number("%.4f", p.time->communication); });
  times("not hidden of it, s", [](const Plan& p) { return number("%.4f", p.time->exposed); });
  times("tokens per second", [](const Plan& p) { return number("%.0f", p.tokens_per_second); });
  times("efficiency", [](const Plan& p) {
    return number("%.3f", p.time->computing / p.time->total());
  });
  return text;
}

/// What would make the plans fit that do not.
std::string changes_text(const PlanOptions& options, const std::vector<Plan>& plans) {
  const auto changes = changes_that_help(options, plans);
  if (!options.memory_gb) return "";
  const auto limit = number("%g GB", *options.memory_gb);
  const auto judged = [&](std::int64_t total) {
    return (fits(options, total) ? "" : "! ") + gigabytes(total);
  };
  std::string text = "\n" + line("fits in " + limit, plans, [&](const Plan& plan) {
    return std::string{fits(options, plan.memory.total()) ? "yes" : "no"};
  });
  if (changes.empty()) return text;
  text += "\ntotal of each rank with (!: more than " + limit +
          "; a smaller batch with as many more gradient_accumulation_steps)\n";
  constexpr std::size_t kColumns = 36;  // the longest name is per_device_train_batch_size 128
  for (const auto& change : changes) {
    std::vector<std::string> values;
    for (const auto total : change.totals) values.push_back(judged(total));
    text += line_of(change.name, values, kColumns);
  }
  return text;
}

std::string notes_text(const std::vector<std::string>& notes) {
  std::string text;
  for (const auto& note : notes) text += "\nnote: " + note + '\n';
  return text;
}

/// `fits` of each plan, and what others come to where one does not.
void judge(ordered_json& json, const PlanOptions& options, const std::vector<Plan>& plans) {
  if (!options.memory_gb) return;
  const auto changes = changes_that_help(options, plans);
  for (std::size_t i = 0; i < plans.size(); ++i) {
    auto& plan = json["plans"][i];
    plan["fits"] = fits(options, plans[i].memory.total());
    plan["changes"] = ordered_json::object();
    for (const auto& change : changes) plan["changes"][change.name] = change.totals[i];
  }
}

}  // namespace

int run_plan(const CommandContext& context, Arguments arguments) {
  PlanOptions options;
  OptionRegistry registry{"hone plan", "What a rank will need, before anything runs."};
  options.bind(registry);
  if (!parse_options(context, registry, arguments)) return 0;
  options.validate();
  const Planner planner{options};
  std::vector<Plan> plans;
  for (const auto ranks : options.ranks) plans.push_back(planner.of(ranks));
  const auto notes = notes_of(options, planner, plans);
  if (options.json) {
    auto json = planner.facts();
    json["notes"] = notes;
    for (const auto& plan : plans) json["plans"].push_back(json_of(plan));
    judge(json, options, plans);
    context.screen.print(json.dump(2) + '\n');
    return 0;
  }
  context.screen.print(
      planner.heading() + "checkpoint " + gigabytes(planner.checkpoint_size()) + "\n\n" +
      line("ranks", plans, [](const Plan& plan) { return std::to_string(plan.ranks); }) +
      line("nodes", plans, [](const Plan& plan) { return std::to_string(plan.nodes); }) +
      memory_text(plans) + changes_text(options, plans) + update_text(plans) + notes_text(notes));
  return 0;
}

}  // namespace hone::launcher
