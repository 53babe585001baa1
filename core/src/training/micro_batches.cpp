#include "hone/core/training/micro_batches.hpp"

#include "hone/core/training/plans.hpp"

namespace hone {

std::vector<std::int64_t> share_of_rank(const Communicator& comm, std::span<const TokenRow> rows,
                                        std::span<const std::int64_t> chunk) {
  std::vector<std::int64_t> lengths;
  for (const auto index : chunk) {
    lengths.push_back(rows[static_cast<std::size_t>(index)].num_tokens());
  }
  const auto shares = balance_by_tokens(lengths, comm.size());
  std::vector<std::int64_t> share;
  for (const auto position : shares[static_cast<std::size_t>(comm.rank())]) {
    share.push_back(chunk[static_cast<std::size_t>(position)]);
  }
  return share;
}

std::vector<PackedBatch> micro_batches(std::span<const TokenRow> rows,
                                       std::span<const std::int64_t> share,
                                       const Collator& collator,
                                       std::int64_t rows_per_micro_batch,
                                       at::TensorOptions model) {
  std::vector<TokenRow> own;
  for (const auto index : share) own.push_back(rows[static_cast<std::size_t>(index)]);
  std::vector<PackedBatch> batches;
  for (const auto& [begin, end] :
       plan_micro_batches(static_cast<std::int64_t>(own.size()), rows_per_micro_batch)) {
    const auto part = std::span{own}.subspan(static_cast<std::size_t>(begin),
                                             static_cast<std::size_t>(end - begin));
    const auto collated = collator.collate(part);
    if (is_weighted(part) && !collated.weights.defined()) {
      throw InputError{"the collator drops the samples' weights: it must fill CollatedBatch::weights"};
    }
    batches.push_back(unpad(collated, model));
    batches.back().samples.assign(share.begin() + begin, share.begin() + end);
  }
  return batches;
}

}  // namespace hone
