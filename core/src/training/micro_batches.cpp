#include "hone/core/training/micro_batches.hpp"

#include <algorithm>

#include "hone/core/error.hpp"
#include "training/gradient_tree.hpp"

namespace hone {
namespace {

void require_complete(std::span<const TokenRow> rows, const CollatedBatch& collated) {
  if (is_weighted(rows) && !collated.weights.defined()) {
    throw InputError{"the collator drops the samples' weights: it must fill CollatedBatch::weights"};
  }
  const bool has_sources =
      std::any_of(rows.begin(), rows.end(), [](const auto& row) { return !row.source_ids.empty(); });
  if (has_sources && !collated.source_ids.defined()) {
    throw InputError{"the collator drops the sources of an encoder-decoder model: it must fill "
                     "CollatedBatch::source_ids"};
  }
}

}  // namespace

std::vector<double> sum_over_shards(Communicator& comm, const Sharding& sharding,
                                    std::span<const double> mine, std::size_t num_values) {
  // Every shard has a place of its own, zero on the other ranks: the reduction adds nothing to it.
  std::vector<double> all(static_cast<std::size_t>(sharding.num_shards) * num_values, 0.0);
  std::copy(mine.begin(), mine.end(),
            all.begin() + static_cast<std::ptrdiff_t>(sharding.first) *
                              static_cast<std::ptrdiff_t>(num_values));
  all_reduce_sum(comm, std::span<double>{all});
  std::vector<double> sums;
  for (std::size_t value = 0; value < num_values; ++value) {
    std::vector<double> of_shards;
    for (std::size_t i = value; i < all.size(); i += num_values) of_shards.push_back(all[i]);
    sums.push_back(detail::tree_sum(std::move(of_shards)));
  }
  return sums;
}

std::vector<PackedBatch> micro_batches(std::span<const TokenRow> rows,
                                       std::span<const std::int64_t> share,
                                       const Collator& collator,
                                       const MicroBatchLimits& limits, LanguageModel& model) {
  const auto tensors = model.parameters().options();
  const auto vocab_size = model.shape().vocab_size;
  std::vector<TokenRow> own;
  std::vector<std::int64_t> lengths;
  for (const auto index : share) {
    own.push_back(rows[static_cast<std::size_t>(index)]);
    lengths.push_back(own.back().num_tokens());
  }
  std::vector<PackedBatch> batches;
  for (const auto& [begin, end] : plan_micro_batches(lengths, limits)) {
    const auto part = std::span{own}.subspan(static_cast<std::size_t>(begin),
                                             static_cast<std::size_t>(end - begin));
    const auto collated = collator.collate(part);
    require_complete(part, collated);
    batches.push_back(unpad(collated, tensors, vocab_size));
    batches.back().samples.assign(share.begin() + begin, share.begin() + end);
  }
  return batches;
}

}  // namespace hone
