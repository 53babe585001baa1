#include "commands/planner.hpp"

#include <algorithm>
#include <cstdio>
#include <utility>

#include "hone/core/model/language_model.hpp"
#include "hone/core/training/row_rules.hpp"
#include "hone/launcher/job_options.hpp"

namespace hone::launcher {
namespace {

Link link(const std::optional<double>& gb_per_second, double latency_us) {
  return {gb_per_second.value_or(0.0) * 1e9, latency_us * 1e-6};
}

}  // namespace

Planner::Planner(PlanOptions options) : options_(std::move(options)) {
  const auto folder = ModelOptions{.model_name_or_path = options_.model_name_or_path}.folder(
      {}, ModelFiles::Config);
  const auto model = outline_model(folder, options_.is_narrow() ? at::kBFloat16 : at::kFloat);
  const auto& shape = model->shape();
  require_positions(shape, options_.max_length);
  max_positions_ = shape.max_positions;
  length_ = options_.max_length.value_or(max_positions_);
  model_type_ = shape.model_type;
  attention_width_ = static_cast<double>(shape.num_layers * shape.num_heads * shape.head_dim);
  sizes_ = sizes_of(*model, length_, options_.device == "cuda");
}

Plan Planner::of(std::int64_t ranks) const {
  const Cluster cluster{
      .ranks = ranks,
      .ranks_per_node = options_.ranks_per_node,
      .inside = link(options_.node_link_gb_per_second, options_.node_link_latency_us),
      .between = link(options_.link_gb_per_second, options_.link_latency_us)};
  Plan plan{.ranks = ranks,
            .nodes = cluster.nodes(),
            .ranks_on_node = std::min(ranks, options_.ranks_per_node)};
  plan.update_samples = options_.samples_of_rank() * ranks;
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

std::string Planner::heading() const {
  char text[256];
  std::snprintf(text, sizeof text,
                "%s, %.4g million parameters, %s on %s; micro-batches of %lld x %lld tokens\n",
                model_type_.c_str(), static_cast<double>(sizes_.num_parameters) * 1e-6,
                options_.dtype.c_str(), options_.device.c_str(),
                static_cast<long long>(sequences()),
                static_cast<long long>(length_));
  return text;
}

nlohmann::ordered_json Planner::facts() const {
  return {{"model_type", model_type_},
          {"num_parameters", sizes_.num_parameters},
          {"dtype", options_.dtype},
          {"device", options_.device},
          {"max_length", length_},
          {"checkpoint_bytes", checkpoint_size()}};
}

bool Planner::knows_links(const Cluster& cluster) const {
  const bool inside = cluster.ranks == 1 || cluster.ranks_per_node == 1 ||
                      options_.node_link_gb_per_second.has_value();
  return inside && (cluster.nodes() == 1 || options_.link_gb_per_second.has_value());
}

std::int64_t Planner::moments() const {
  if (options_.optim == "adamw_torch") return 2;
  return options_.momentum > 0 ? 1 : 0;
}

/// Computed at once. All have the same length, which a limit of tokens does not cut.
std::int64_t Planner::sequences() const {
  const auto rows = options_.per_device_train_batch_size;
  if (!options_.per_device_train_tokens) return rows;
  return std::clamp<std::int64_t>(*options_.per_device_train_tokens / length_, 1, rows);
}

MemoryRequest Planner::request(std::int64_t ranks) const {
  return {.ranks = ranks,
          .ranks_on_node = std::min(ranks, options_.ranks_per_node),
          .element_bytes = options_.is_narrow() ? 2 : 4,
          .moments = moments(),
          .sharded_optimizer = options_.is_sharded(),
          .narrow_wire = options_.ddp_comm_hook == "bf16",
          .gradient_checkpointing = options_.gradient_checkpointing,
          .sequences = sequences(),
          .length = length_,
          .update_tokens = options_.samples_of_rank() * ranks * length_,
          .async_save = options_.async_save,
          .cache_rows = options_.batch_size,
          .on_gpu = options_.device == "cuda"};
}

/// zero1 gathers what was updated: float32 parameters, of bfloat16 ones their masters, which stay
/// whole.
UpdateBytes Planner::update_bytes(std::int64_t ranks) const {
  const auto flat = sizes_.flat_elements;
  return {.gradients = flat * (options_.ddp_comm_hook == "bf16" ? 2 : 4),
          .gathered = options_.is_sharded() && ranks > 1 ? flat * 4 : 0};
}

StepWork Planner::work() const {
  return {.tokens = static_cast<double>(options_.samples_of_rank() * length_),
          .parameters = static_cast<double>(sizes_.num_parameters),
          .attention_width = attention_width_,
          .length = static_cast<double>(length_),
          .recomputed = options_.gradient_checkpointing};
}

}  // namespace hone::launcher
