#pragma once

#include <cstdint>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>

#include "commands/plan_options.hpp"
#include "hone/core/training/cost_model.hpp"
#include "hone/core/training/memory_plan.hpp"

namespace hone::launcher {

/// All that is said of one number of ranks. Units: bytes, seconds.
struct Plan {
  std::int64_t ranks = 1, nodes = 1, ranks_on_node = 1;
  std::int64_t update_samples = 0;
  MemoryPlan memory;
  std::int64_t traffic_bytes = 0;
  std::optional<StepTime> time;  ///< where the speeds that it takes were given
  double tokens_per_second = 0.0;
};

/// Plans for one model and one set of options.
class Planner {
 public:
  /// Reads config.json of the model's folder and nothing else.
  /// Throws: MissingInputError, InputError; ConfigError for more tokens than it has positions.
  explicit Planner(PlanOptions options);

  Plan of(std::int64_t ranks) const;

  /// The line that says what was planned for.
  std::string heading() const;
  nlohmann::ordered_json facts() const;
  std::int64_t checkpoint_size() const { return checkpoint_bytes(sizes_, request(1)); }
  /// Tokens of a sample, and those that the model was made for.
  std::int64_t length() const { return length_; }
  std::int64_t max_positions() const { return max_positions_; }

 private:
  std::int64_t sequences() const;
  std::int64_t moments() const;
  MemoryRequest request(std::int64_t ranks) const;
  UpdateBytes update_bytes(std::int64_t ranks) const;
  StepWork work() const;
  bool knows_links(const Cluster& cluster) const;

  PlanOptions options_;
  std::string model_type_;
  std::int64_t length_ = 0, max_positions_ = 0;
  double attention_width_ = 0.0;
  ModelSizes sizes_;
};

}  // namespace hone::launcher
