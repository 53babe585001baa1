#include "training/parameter_digest.hpp"

#include <ATen/ops/arange.h>
#include <ATen/ops/stack.h>
#include <ATen/ops/sum.h>
#include <ATen/ops/zeros.h>

#include <algorithm>
#include <cstring>
#include <vector>

#include "hone/core/communicator.hpp"
#include "hone/core/error.hpp"
#include "hone/core/model/parameter_store.hpp"

namespace hone::detail {
namespace {

/// Of one tensor.
at::Tensor digest_of(const at::Tensor& words) {
  // In pieces: each is widened to 64 bits.
  constexpr std::int64_t kPiece = std::int64_t{1} << 20;
  const auto factors =
      at::arange(1, 2 * std::min(kPiece, words.numel()), 2, words.options().dtype(at::kLong));
  auto sum = at::zeros({}, factors.options());
  std::int64_t offset = 0;
  for (const auto& piece : words.split(kPiece)) {
    const auto wide = piece.to(at::kLong);
    sum += wide.mul(factors.narrow(0, 0, piece.numel()).add(2 * offset)).sum();
    offset += piece.numel();
  }
  return sum;
}

/// The rank whose digest of tensor `i` is not what most ranks have; -1: all have the same.
int odd_rank(const std::vector<Digests>& of_ranks, std::size_t i) {
  const auto votes = [&](std::int64_t digest) {
    return std::ranges::count_if(of_ranks,
                                 [&](const Digests& digests) { return digests[i] == digest; });
  };
  const auto most = std::ranges::max_element(
      of_ranks, {}, [&](const Digests& digests) { return votes(digests[i]); });
  const auto odd = std::ranges::find_if(
      of_ranks, [&](const Digests& digests) { return digests[i] != (*most)[i]; });
  return odd == of_ranks.end() ? -1 : static_cast<int>(odd - of_ranks.begin());
}

}  // namespace

Digests digests_of(const ParameterStore& parameters) {
  std::vector<at::Tensor> sums;
  for (std::size_t i = 0; i < parameters.all().size(); ++i) {
    sums.push_back(digest_of(parameters.trained(i).detach().reshape({-1}).view(at::kInt)));
  }
  const auto all = at::stack(sums).cpu();
  const auto* first = all.const_data_ptr<std::int64_t>();
  return {first, first + all.numel()};
}

std::int64_t folded(const Digests& digests) {
  std::uint64_t all = 0;
  // An odd number without a pattern, so that neighbours do not cancel.
  for (const auto digest : digests) {
    all = all * 0x9E3779B97F4A7C15ULL + static_cast<std::uint64_t>(digest);
  }
  return static_cast<std::int64_t>(all);
}

std::string difference_of(Communicator& comm, const Digests& digests,
                          const ParameterStore& parameters) {
  std::vector<Digests> of_ranks;
  for (const auto& bytes : comm.all_gather_bytes(std::as_bytes(std::span{digests}))) {
    of_ranks.emplace_back(bytes.size() / sizeof(std::int64_t));
    std::memcpy(of_ranks.back().data(), bytes.data(), bytes.size());
    if (of_ranks.back().size() != digests.size())
      return "the ranks hold models of different shapes";
  }
  for (std::size_t i = 0; i < digests.size(); ++i) {
    const int rank = odd_rank(of_ranks, i);
    if (rank < 0) continue;
    return "rank " + std::to_string(rank) + " holds another " + parameters.all()[i].name +
           (comm.size() == 2 ? " than the other rank" : " than other ranks");
  }
  return {};
}

void require_equal_parameters(Communicator& comm, const ParameterStore& parameters) {
  const auto digests = digests_of(parameters);
  const auto mine = folded(digests);
  const auto all = comm.all_gather_bytes(std::as_bytes(std::span{&mine, 1}));
  if (std::ranges::all_of(all, [&](const auto& digest) { return digest == all[0]; })) return;
  throw CommunicatorError{difference_of(comm, digests, parameters) +
                          ". Do all ranks read the same model folder or checkpoint?"};
}

}  // namespace hone::detail
