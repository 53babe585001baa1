#include "hone/core/training/memory_plan.hpp"

#include <algorithm>
#include <string>

#include "hone/core/error.hpp"
#include "hone/core/training/plans.hpp"

namespace hone {
namespace {

constexpr std::int64_t kFloat = 4;

/// Measured: peak of `hone train` with a model of 23,840 parameters, libtorch 2.15 on Debian 12,
/// x86-64: 179 MB on one rank and on each of two under mpirun. Of these 76 MB are pages of
/// libtorch_cpu. Holes between tensors that come and go are not seen beside that (PageHeap): 10
/// runs of two families with 24 to 40 million parameters.
constexpr std::int64_t kProcessBytes = 179'000'000;
/// A model, not measured here: a CUDA context with its libraries' kernels and workspaces.
constexpr std::int64_t kGpuContextBytes = 500'000'000;
/// Ids, labels and mask as they are given to step(), ids and labels as it keeps them: int64 each.
constexpr std::int64_t kBytesPerSampleToken = 5 * 8;

std::int64_t ceil_divided(std::int64_t value, std::int64_t by) { return (value + by - 1) / by; }

/// One block: what it keeps for its backward pass.
std::int64_t kept_by_block(const BlockStack& stack, const MemoryRequest& r) {
  const auto tokens = r.sequences * r.length;
  return tokens * stack.kept + r.sequences * r.length * r.length * stack.kept_of_pair;
}

/// What all blocks hold when the last one's forward is done. Recomputed blocks hold their input
/// only.
std::int64_t held_by_blocks(const BlockStack& stack, const MemoryRequest& r) {
  const auto tokens = r.sequences * r.length;
  const auto of_block = r.gradient_checkpointing ? tokens * stack.input : kept_by_block(stack, r);
  return stack.num_blocks * of_block + tokens * stack.kept_behind;
}

/// What comes on top while one block goes backward: gradients of its widest layer's outputs and
/// inputs and of its scores, that of a weight before it is added (in bfloat16 a float32 copy of it
/// too; on GPUs the product adds it), and all that it keeps where that is computed again.
std::int64_t block_backward(const BlockStack& stack, const MemoryRequest& r) {
  const auto tokens = r.sequences * r.length;
  auto weight_gradient = r.element_bytes < kFloat ? r.element_bytes + kFloat : kFloat;
  if (r.on_gpu) weight_gradient = 0;
  const auto again = r.gradient_checkpointing ? kept_by_block(stack, r) : 0;
  const auto scores = r.length * r.length * stack.kept_of_pair;  // of one sequence at a time
  return again + std::max(tokens * (stack.widest + 2 * stack.input), scores) +
         stack.largest_weight * weight_gradient;
}

/// What comes on top while the head's loss and gradient are made, chunk by chunk (head_loss()):
/// logits, whose place their gradient takes, on GPUs log-probabilities and in bfloat16 what is
/// rounded of them too; in bfloat16 also the head's gradient before it is added, but on GPUs.
std::int64_t head_peak(const ModelSizes& model, const MemoryRequest& r) {
  const auto rows = std::min(r.sequences * r.length, head_loss_rows(model.vocab_size));
  const auto logits = rows * model.vocab_size;
  if (r.element_bytes >= kFloat) return (r.on_gpu ? 2 : 1) * kFloat * logits;
  const auto narrow = r.element_bytes;
  if (r.on_gpu) return (narrow + 2 * kFloat) * logits;
  return narrow * logits + (narrow + kFloat) * model.vocab_size * model.hidden_size;
}

std::int64_t activations(const ModelSizes& model, const MemoryRequest& r) {
  // Of the last norm's output the rows that predict, and their gradient.
  const auto ends = 2 * r.sequences * r.length * model.hidden_size * r.element_bytes;
  std::int64_t held = ends, on_top = head_peak(model, r);
  for (const auto& stack : model.stacks) {
    held += held_by_blocks(stack, r);
    on_top = std::max(on_top, block_backward(stack, r));
  }
  return held + on_top;
}

void require_positive(const char* name, std::int64_t value) {
  if (value > 0) return;
  throw ConfigError{std::string{name} + " must be > 0, got " + std::to_string(value)};
}

/// One bucket of 64 MiB of gradients in half as many bytes; on GPUs, where all buckets are on their
/// way at once, all of them (AllReduceGradientReducer).
std::int64_t wire_bytes(std::int64_t elements, bool on_gpu) {
  constexpr std::int64_t kBucketElements = std::int64_t{16} << 20;
  return 2 * (on_gpu ? elements : std::min(elements, kBucketElements));
}

}  // namespace

std::int64_t MemoryPlan::total() const {
  return parameters + masters + gradients + wire + optimizer + std::max(activations, kv_cache) +
         (on_gpu ? 0 : samples + checkpoint_copy) + process;
}

MemoryPlan plan_memory(const ModelSizes& model, const MemoryRequest& r) {
  require_positive("ranks", r.ranks);
  require_positive("per_device_train_batch_size", r.sequences);
  require_positive("max_length", r.length);
  const auto flat = model.flat_elements;
  MemoryPlan plan;
  plan.parameters = flat * r.element_bytes;
  plan.masters = r.element_bytes < kFloat ? flat * kFloat : 0;
  plan.gradients = flat * kFloat;
  plan.optimizer =
      r.moments * kFloat * (r.sharded_optimizer ? ceil_divided(flat, r.ranks) : flat);
  plan.activations = activations(model, r);
  plan.kv_cache = r.cache_rows * r.length * model.cache_elements * r.element_bytes;
  plan.samples = r.update_tokens * kBytesPerSampleToken;
  if (r.async_save) plan.checkpoint_copy = ceil_divided(checkpoint_bytes(model, r), r.ranks);
  if (r.narrow_wire && r.ranks > 1) plan.wire = wire_bytes(flat, r.on_gpu);
  const auto sharers = r.on_gpu ? 1 : r.ranks_on_node;
  plan.shared = plan.gradients / sharers * (sharers - 1);
  plan.on_gpu = r.on_gpu;
  plan.process = r.on_gpu ? kGpuContextBytes : kProcessBytes;
  return plan;
}

std::int64_t checkpoint_bytes(const ModelSizes& model, const MemoryRequest& r) {
  return model.num_parameters * kFloat * (1 + r.moments);
}

}  // namespace hone
