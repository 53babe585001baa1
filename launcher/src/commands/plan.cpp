#include <algorithm>
#include <cstdio>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <vector>

#include "hone/core/error.hpp"
#include "hone/core/model/language_model.hpp"
#include "hone/core/training/cost_model.hpp"
#include "hone/core/training/memory_plan.hpp"
#include "hone/launcher/commands.hpp"
#include "hone/launcher/job_options.hpp"

namespace hone::launcher {
namespace {

using nlohmann::ordered_json;

struct PlanOptions {
  std::string model_name_or_path;
  std::string ranks = "1";
  std::int64_t ranks_per_node = 8;
  std::string device = "cpu";
  std::string dtype = "float32";
  std::string optim = "adamw_torch";
  double momentum = 0.0;
  std::string optimizer_sharding = "none";
  std::string ddp_comm_hook = "no";
  bool gradient_checkpointing = false;
  std::int64_t per_device_train_batch_size = 8;
  std::int64_t gradient_accumulation_steps = 1;
  std::optional<std::int64_t> max_length;
  std::int64_t batch_size = 0;
  std::optional<double> tflops, node_link_gb_per_second, link_gb_per_second;
  double node_link_latency_us = 0.0, link_latency_us = 0.0, overlap = 0.0;
  bool json = false;

  void bind(OptionRegistry& registry) {
    registry.add_config_option();
    auto model = registry.group("Model");
    model
        .add("model_name_or_path", &model_name_or_path,
             "A folder with config.json; weights are not needed.")
        .positional()
        .required();
    bind_job(registry.group("Job"));
    bind_training(registry.group("Training"));
    bind_speed(registry.group("Speed"));
    registry.group("Output").add("json", &json, "JSON to standard output.");
  }

  void bind_job(OptionGroup job) {
    job.add("ranks", &ranks, "Numbers of ranks to plan for, with commas between: 2,8,64.");
    job.add("ranks_per_node", &ranks_per_node, "Ranks that a node has room for.", at_least(1));
    job.add_choice("device", &device, "What the ranks compute on; cuda is a model, not measured.",
                   {"cpu", "cuda"});
  }

  void bind_training(OptionGroup training) {
    training.add_choice("dtype", &dtype, "Computed in; bfloat16 as with bf16 of hone train.",
                        {"float32", "bfloat16"});
    training.add_choice("optim", &optim, "The optimizer.", {"adamw_torch", "sgd"});
    training.add("momentum", &momentum, "Of sgd.", from_below(0, 1));
    training.add_choice("optimizer_sharding", &optimizer_sharding,
                        "zero1: each rank keeps its share of the optimizer's state alone.",
                        {"none", "zero1"});
    training.add_choice("ddp_comm_hook", &ddp_comm_hook,
                        "bf16: gradients travel as bfloat16, half as many bytes.", {"no", "bf16"});
    training.add("gradient_checkpointing", &gradient_checkpointing,
                 "Keep only each block's input for the backward pass and compute the rest again.");
    training.add("per_device_train_batch_size", &per_device_train_batch_size,
                 "Samples that a rank computes at once.", at_least(1));
    training.add("gradient_accumulation_steps", &gradient_accumulation_steps,
                 "Micro-batches of a rank in one update.", at_least(1));
    training.add("max_length", &max_length,
                 "Tokens of every sample, which is the worst case; null: the model's maximum.",
                 at_least(1));
    training.add("batch_size", &batch_size,
                 "Sequences of max_length that a rank generates together; 0: it does not generate.",
                 non_negative());
  }

  void bind_speed(OptionGroup speed) {
    speed.add("tflops", &tflops,
              "10^12 operations a second that a rank keeps up; null: no prediction of times.",
              positive());
    speed.add("node_link_gb_per_second", &node_link_gb_per_second,
              "10^9 bytes a second that a rank sends to another of its node.", positive());
    speed.add("node_link_latency_us", &node_link_latency_us, "Microseconds of such a hop.",
              non_negative());
    speed.add("link_gb_per_second", &link_gb_per_second,
              "The same to another node, for each rank: its share of the node's network.",
              positive());
    speed.add("link_latency_us", &link_latency_us, "Microseconds of such a hop.", non_negative());
    speed.add("overlap", &overlap,
              "Share of the backward pass in which gradients are on their way; 0: they leave after "
              "it.",
              between(0, 1));
  }

  std::vector<std::int64_t> rank_counts() const {
    std::vector<std::int64_t> counts;
    for (std::size_t begin = 0; begin <= ranks.size();) {
      const auto end = std::min(ranks.find(',', begin), ranks.size());
      const auto word = ranks.substr(begin, end - begin);
      const bool is_number = !word.empty() && word.size() <= 7 &&
                             word.find_first_not_of("0123456789") == std::string::npos;
      const auto count = is_number ? std::stoll(word) : 0;
      if (count < 1) {
        throw ConfigError{"ranks must be whole numbers >= 1 with commas between, such as 2,8,64; "
                          "got \"" +
                          ranks + '"'};
      }
      counts.push_back(count);
      begin = end + 1;
    }
    return counts;
  }
};

/// All that is said of one number of ranks.
struct Plan {
  std::int64_t ranks = 1, nodes = 1, ranks_on_node = 1;
  std::int64_t update_samples = 0;
  MemoryPlan memory;
  std::int64_t traffic_bytes = 0;
  std::optional<StepTime> time;  ///< where the speeds that it takes were given
  double tokens_per_second = 0.0;
};

class Planner {
 public:
  explicit Planner(const PlanOptions& options) : options_(options) {
    const auto folder = ModelOptions{.model_name_or_path = options.model_name_or_path}.folder({});
    const auto model = outline_model(folder, is_narrow() ? at::kBFloat16 : at::kFloat);
    const auto& shape = model->shape();
    length_ = options.max_length.value_or(shape.max_positions);
    model_type_ = shape.model_type;
    attention_width_ =
        static_cast<double>(shape.num_layers * shape.num_heads * shape.head_dim);
    sizes_ = sizes_of(*model, length_);
  }

  Plan of(std::int64_t ranks) const {
    const Cluster cluster{.ranks = ranks,
                          .ranks_per_node = options_.ranks_per_node,
                          .inside = link(options_.node_link_gb_per_second,
                                         options_.node_link_latency_us),
                          .between = link(options_.link_gb_per_second, options_.link_latency_us)};
    Plan plan{.ranks = ranks,
              .nodes = cluster.nodes(),
              .ranks_on_node = std::min(ranks, options_.ranks_per_node)};
    plan.update_samples = samples_of_rank() * ranks;
    plan.memory = plan_memory(sizes_, request(ranks));
    const auto bytes = update_bytes(ranks);
    plan.traffic_bytes = static_cast<std::int64_t>(update_traffic(ranks, bytes));
    if (options_.tflops && knows_links(cluster)) {
      plan.time = predict_step(cluster, bytes, work(), *options_.tflops * 1e12, options_.overlap);
      plan.tokens_per_second =
          static_cast<double>(plan.update_samples * length_) / plan.time->total();
    }
    return plan;
  }

  std::string heading() const {
    char text[256];
    std::snprintf(text, sizeof text,
                  "%s, %.4g million parameters, %s on %s; micro-batches of %lld x %lld tokens\n",
                  model_type_.c_str(), static_cast<double>(sizes_.num_parameters) * 1e-6,
                  options_.dtype.c_str(), options_.device.c_str(),
                  static_cast<long long>(options_.per_device_train_batch_size),
                  static_cast<long long>(length_));
    return text;
  }

  ordered_json facts() const {
    return {{"model_type", model_type_},
            {"num_parameters", sizes_.num_parameters},
            {"dtype", options_.dtype},
            {"device", options_.device},
            {"max_length", length_},
            {"checkpoint_bytes", checkpoint_size()}};
  }

  std::int64_t checkpoint_size() const { return checkpoint_bytes(sizes_, request(1)); }

 private:
  bool is_narrow() const { return options_.dtype == "bfloat16"; }
  bool is_sharded() const { return options_.optimizer_sharding == "zero1"; }
  std::int64_t samples_of_rank() const {
    return options_.per_device_train_batch_size * options_.gradient_accumulation_steps;
  }

  static Link link(const std::optional<double>& gb_per_second, double latency_us) {
    return {gb_per_second.value_or(0.0) * 1e9, latency_us * 1e-6};
  }

  bool knows_links(const Cluster& cluster) const {
    const bool inside = cluster.ranks == 1 || cluster.ranks_per_node == 1 ||
                        options_.node_link_gb_per_second.has_value();
    return inside && (cluster.nodes() == 1 || options_.link_gb_per_second.has_value());
  }

  std::int64_t moments() const {
    if (options_.optim == "adamw_torch") return 2;
    return options_.momentum > 0 ? 1 : 0;
  }

  MemoryRequest request(std::int64_t ranks) const {
    return {.ranks = ranks,
            .ranks_on_node = std::min(ranks, options_.ranks_per_node),
            .element_bytes = is_narrow() ? 2 : 4,
            .moments = moments(),
            .sharded_optimizer = is_sharded(),
            .narrow_wire = options_.ddp_comm_hook == "bf16",
            .gradient_checkpointing = options_.gradient_checkpointing,
            .sequences = options_.per_device_train_batch_size,
            .length = length_,
            .update_tokens = samples_of_rank() * ranks * length_,
            .cache_rows = options_.batch_size,
            .on_gpu = options_.device == "cuda"};
  }

  /// zero1 gathers what was updated: float32 parameters, of bfloat16 ones their masters, which stay
  /// whole.
  UpdateBytes update_bytes(std::int64_t ranks) const {
    const auto flat = sizes_.flat_elements;
    return {.gradients = flat * (options_.ddp_comm_hook == "bf16" ? 2 : 4),
            .gathered = is_sharded() && ranks > 1 ? flat * 4 : 0};
  }

  StepWork work() const {
    return {.tokens = static_cast<double>(samples_of_rank() * length_),
            .parameters = static_cast<double>(sizes_.num_parameters),
            .attention_width = attention_width_,
            .length = static_cast<double>(length_),
            .recomputed = options_.gradient_checkpointing};
  }

  const PlanOptions& options_;
  std::string model_type_;
  std::int64_t length_ = 0;
  double attention_width_ = 0.0;
  ModelSizes sizes_;
};

std::vector<std::pair<std::string, std::int64_t>> rows_of(const MemoryPlan& plan) {
  return {{"parameters", plan.parameters}, {"masters", plan.masters},
          {"gradients", plan.gradients},   {"wire", plan.wire},
          {"optimizer", plan.optimizer},
          {"activations", plan.activations}, {"kv_cache", plan.kv_cache},
          {"samples", plan.samples},       {"process", plan.process},
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

/// A line of the table: a name, and what `cell` says of each plan.
template <typename Cell>
std::string line(const std::string& name, const std::vector<Plan>& plans, Cell&& cell) {
  std::string text = "  " + name;
  text.resize(26, ' ');
  for (const auto& plan : plans) {
    const std::string value = cell(plan);
    text += std::string(value.size() < 15 ? 15 - value.size() : 1, ' ') + value;
  }
  return text + '\n';
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

}  // namespace

int run_plan(const CommandContext& context, Arguments arguments) {
  PlanOptions options;
  OptionRegistry registry{"hone plan", "What a rank will need, before anything runs."};
  options.bind(registry);
  if (!parse_options(context, registry, arguments)) return 0;
  const auto counts = options.rank_counts();
  const Planner planner{options};
  std::vector<Plan> plans;
  for (const auto ranks : counts) plans.push_back(planner.of(ranks));
  if (options.json) {
    auto json = planner.facts();
    for (const auto& plan : plans) json["plans"].push_back(json_of(plan));
    context.screen.print(json.dump(2) + '\n');
    return 0;
  }
  context.screen.print(
      planner.heading() + "checkpoint " + gigabytes(planner.checkpoint_size()) + "\n\n" +
      line("ranks", plans, [](const Plan& plan) { return std::to_string(plan.ranks); }) +
      line("nodes", plans, [](const Plan& plan) { return std::to_string(plan.nodes); }) +
      memory_text(plans) + update_text(plans));
  return 0;
}

}  // namespace hone::launcher
