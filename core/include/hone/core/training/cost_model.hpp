#pragma once

#include <cstdint>

namespace hone {

/// One direction of what connects two ranks. A model: a message takes latency + bytes / bandwidth.
struct Link {
  double bytes_per_second = 0.0;
  double latency_s = 0.0;  ///< of one hop
};

/// Ranks on equal nodes. `between` is each rank's own share of the network: a node sends with all
/// of them.
struct Cluster {
  std::int64_t ranks = 1;
  std::int64_t ranks_per_node = 1;
  Link inside, between;

  std::int64_t nodes() const { return (ranks + ranks_per_node - 1) / ranks_per_node; }
  /// Units: bytes a second that a ring over all ranks carries: its slowest part counts. On several
  /// nodes as many rings as a node has ranks run side by side, each over another rank's link.
  double ring_bytes_per_second() const;
};

/// Units: bytes that each rank sends, and receives, in one pass of a ring over `bytes`: a
/// reduce-scatter or an all-gather is one, an all-reduce two. (N-1)/N of them.
/// Source: Patarasuk and Yuan, Bandwidth optimal all-reduce algorithms, 2009.
double ring_pass_bytes(std::int64_t ranks, std::int64_t bytes);

/// One pass: N-1 hops, of which nodes-1 go between nodes. Source of the hops: NCCL's
/// src/graph/tuning.cc.
double ring_pass_seconds(const Cluster& cluster, std::int64_t bytes);

/// An all-reduce up and down a double binary tree: the bytes of a ring, and the latency of a chain
/// inside each node and of log2(nodes) hops between them, each way. Source: as above.
double tree_all_reduce_seconds(const Cluster& cluster, std::int64_t bytes);

/// Bytes that the ranks exchange for one update. Units: bytes of whole buffers, not of traffic.
struct UpdateBytes {
  std::int64_t gradients = 0;  ///< as they are on the wire
  std::int64_t gathered = 0;   ///< zero1: parameters that come back; 0: an all-reduce instead
};

/// Units: bytes that each rank sends for an update, and as many that it receives.
double update_traffic(std::int64_t ranks, const UpdateBytes& bytes);

/// Of the gradients: an all-reduce by ring or tree, whichever is faster, or zero1's reduce-scatter
/// by ring.
double reduce_seconds(const Cluster& cluster, const UpdateBytes& bytes);

/// A step's arithmetic. Source: Kaplan et al. 2020 (6 operations a parameter and token), Chowdhery
/// et al. 2022, appendix B (attention), of which a causal model computes half.
struct StepWork {
  double tokens = 0.0;  ///< of one rank and update
  double parameters = 0.0;
  double attention_width = 0.0;  ///< layers x heads x head size
  double length = 0.0;           ///< tokens of a sequence
  bool recomputed = false;       ///< gradient_checkpointing: one forward more

  double operations() const;
};

/// Units: seconds. `overlap`: the share of the backward pass, two thirds of the computing (three
/// quarters where blocks are computed again), in which gradients are on their way already; 0: they
/// leave after it. What zero1 gathers comes after the update, and nothing hides it.
struct StepTime {
  double computing = 0.0;
  double communication = 0.0;
  double exposed = 0.0;  ///< of the communication: what no computing hides

  double total() const { return computing + exposed; }
};

StepTime predict_step(const Cluster& cluster, const UpdateBytes& bytes, const StepWork& work,
                      double operations_per_second, double overlap);

}  // namespace hone
