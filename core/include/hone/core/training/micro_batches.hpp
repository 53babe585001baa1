#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <span>
#include <vector>

#include "hone/core/communicator.hpp"
#include "hone/core/training/collator.hpp"
#include "hone/core/training/packed_batch.hpp"

namespace hone {

/// This rank's share of the rows that `chunk` names (every rank holds all rows), balanced by tokens:
/// their places in `rows`. May be empty. No communication.
std::vector<std::int64_t> share_of_rank(const Communicator& comm, std::span<const TokenRow> rows,
                                        std::span<const std::int64_t> chunk);

/// The rows that `share` names, collated a few at a time and freed of padding.
std::vector<PackedBatch> micro_batches(std::span<const TokenRow> rows,
                                       std::span<const std::int64_t> share,
                                       const Collator& collator,
                                       std::int64_t rows_per_micro_batch,
                                       at::TensorOptions model);

}  // namespace hone
