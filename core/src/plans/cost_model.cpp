#include "hone/core/training/cost_model.hpp"

#include <algorithm>
#include <bit>

namespace hone {
namespace {

/// Source: forward 2, backward 4 operations a parameter and token.
constexpr double kForward = 2.0, kBackward = 4.0;

double number(std::int64_t value) { return static_cast<double>(value); }

}  // namespace

double Cluster::ring_bytes_per_second() const {
  if (nodes() == 1) return inside.bytes_per_second;
  const double of_node = number(std::min(ranks, ranks_per_node)) * between.bytes_per_second;
  return ranks_per_node == 1 ? of_node : std::min(inside.bytes_per_second, of_node);
}

double ring_pass_bytes(std::int64_t ranks, std::int64_t bytes) {
  return number(ranks - 1) / number(ranks) * number(bytes);
}

double ring_pass_seconds(const Cluster& cluster, std::int64_t bytes) {
  if (cluster.ranks == 1) return 0.0;
  const auto across = cluster.nodes() - 1, within = cluster.ranks - 1 - across;
  return number(within) * cluster.inside.latency_s + number(across) * cluster.between.latency_s +
         ring_pass_bytes(cluster.ranks, bytes) / cluster.ring_bytes_per_second();
}

double tree_all_reduce_seconds(const Cluster& cluster, std::int64_t bytes) {
  if (cluster.ranks == 1) return 0.0;
  const auto nodes = static_cast<std::uint64_t>(cluster.nodes());
  // log2, rounded up.
  const auto levels = static_cast<std::int64_t>(std::bit_width(nodes - 1));
  const auto chain = std::min(cluster.ranks, cluster.ranks_per_node) - 1;
  const double latency_s =
      number(chain) * cluster.inside.latency_s + number(levels) * cluster.between.latency_s;
  return 2.0 * latency_s +
         2.0 * ring_pass_bytes(cluster.ranks, bytes) / cluster.ring_bytes_per_second();
}

double update_traffic(std::int64_t ranks, const UpdateBytes& bytes) {
  const auto back = bytes.gathered > 0 ? bytes.gathered : bytes.gradients;
  return ring_pass_bytes(ranks, bytes.gradients) + ring_pass_bytes(ranks, back);
}

double reduce_seconds(const Cluster& cluster, const UpdateBytes& bytes) {
  const double pass = ring_pass_seconds(cluster, bytes.gradients);
  if (bytes.gathered > 0) return pass;
  return std::min(2.0 * pass, tree_all_reduce_seconds(cluster, bytes.gradients));
}

double StepWork::operations() const {
  const double passes = kForward + kBackward + (recomputed ? kForward : 0.0);
  return tokens * passes * (parameters + attention_width * length);
}

StepTime predict_step(const Cluster& cluster, const UpdateBytes& bytes, const StepWork& work,
                      double operations_per_second, double overlap) {
  const double all = kForward + kBackward + (work.recomputed ? kForward : 0.0);
  StepTime time;
  time.computing = work.operations() / operations_per_second;
  const double reduce = reduce_seconds(cluster, bytes);
  const double gather = bytes.gathered > 0 ? ring_pass_seconds(cluster, bytes.gathered) : 0.0;
  const double hidden = overlap * time.computing * (all - kForward) / all;
  time.communication = reduce + gather;
  time.exposed = std::max(0.0, reduce - hidden) + gather;
  return time;
}

}  // namespace hone
