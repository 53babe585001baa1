#pragma once

#include <cstdint>
#include <vector>

namespace hone {

/// What training holds of blocks that are alike, said by the model family whose forward it is
/// (LanguageModel::stacks()). Units: bytes, but for the counts.
struct BlockStack {
  std::int64_t num_blocks = 0;
  std::int64_t input = 0;          ///< of a token, between two blocks
  std::int64_t kept = 0;           ///< of a token: what one block keeps for its backward pass
  std::int64_t kept_of_pair = 0;   ///< the same, of a query and a key of one sequence
  std::int64_t widest = 0;         ///< of a token: the outputs of the block's widest layer
  std::int64_t kept_behind = 0;    ///< of a token: what the stack keeps once, its last norm say
  std::int64_t largest_weight = 0; ///< elements
};

/// A model as far as memory goes. Units: elements, but for the counts.
struct ModelSizes {
  std::int64_t num_parameters = 0;
  std::int64_t flat_elements = 0;  ///< parameters with the padding between their views
  std::int64_t vocab_size = 0;
  std::int64_t hidden_size = 0;
  std::int64_t cache_elements = 0;  ///< keys and values of one token in all layers
  std::vector<BlockStack> stacks;
};

/// How a run is to train. Names are those of TrainerOptions where it has them.
struct MemoryRequest {
  std::int64_t ranks = 1;
  std::int64_t ranks_on_node = 1;
  std::int64_t element_bytes = 4;  ///< of what is computed with: 4 float32, 2 bfloat16
  std::int64_t moments = 2;        ///< float32 numbers that the optimizer keeps of a parameter
  bool sharded_optimizer = false;  ///< optimizer_sharding zero1: each rank has its share of them
  bool narrow_wire = false;        ///< ddp_comm_hook bf16
  bool gradient_checkpointing = false;
  std::int64_t sequences = 8;      ///< of a micro-batch
  std::int64_t length = 0;         ///< tokens of each; all are targets
  std::int64_t update_tokens = 0;  ///< of one update over all ranks
  bool async_save = false;         ///< a rank keeps memory for its share of a checkpoint
  std::int64_t cache_rows = 0;     ///< sequences of `length` tokens decoded together; 0: none
  bool on_gpu = false;
};

/// Units: bytes, of one rank at its peak.
struct MemoryPlan {
  std::int64_t parameters = 0;   ///< what is computed with
  std::int64_t masters = 0;      ///< float32 originals of bfloat16 parameters
  std::int64_t gradients = 0;    ///< float32
  std::int64_t wire = 0;         ///< gradients as they travel, where that is not as they are
  std::int64_t optimizer = 0;
  std::int64_t activations = 0;  ///< of one micro-batch where they are most
  std::int64_t kv_cache = 0;     ///< while generating, when there are no activations
  std::int64_t checkpoint_copy = 0;  ///< of its share, while that is written; on the host
  std::int64_t samples = 0;      ///< token ids of one update, on the host of every rank
  std::int64_t process = 0;      ///< program, libraries, allocator; of a GPU its context
  /// What a rank sees of the gradients of its node's other ranks, on CPUs, where it sums a part of
  /// them in place: resident as the kernel counts (RSS), and no memory of its own.
  std::int64_t shared = 0;
  bool on_gpu = false;

  /// Of the device: training and generation take turns, and a GPU holds no copy of a checkpoint and
  /// no samples but those it computes.
  std::int64_t total() const;
  /// Resident at the peak (RSS).
  std::int64_t resident() const { return total() + shared; }
};

/// What a rank of such a run needs. Throws: ConfigError where a size is not positive.
MemoryPlan plan_memory(const ModelSizes& model, const MemoryRequest& request);

/// Units: bytes of one checkpoint on disk: float32 parameters and moments, whatever was computed
/// in.
std::int64_t checkpoint_bytes(const ModelSizes& model, const MemoryRequest& request);

}  // namespace hone
