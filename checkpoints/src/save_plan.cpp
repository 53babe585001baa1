#include "save_plan.hpp"

#include <algorithm>
#include <iterator>
#include <nlohmann/json.hpp>
#include <set>
#include <string_view>
#include <utility>

#include "agreed.hpp"
#include "digest.hpp"
#include "hdf5_layout.hpp"
#include "hone/core/error.hpp"
#include "manifest.hpp"
#include "placement.hpp"

namespace hone::checkpoints::detail {
namespace {

[[noreturn]] void refuse(const std::string& reason) {
  throw CheckpointError{reason, ExitCode::Internal};
}

void require_valid(const TensorBytes& tensor) {
  if (!is_valid_tensor_name(tensor.name)) refuse("not a tensor name: \"" + tensor.name + '"');
  if (tensor.shape.size() > kMaxDimensions) refuse("tensor " + tensor.name + " has too many dimensions");
  const auto whole = bytes_of(tensor.shape, tensor.dtype);
  const auto bytes = static_cast<std::int64_t>(tensor.bytes.size());
  const auto width = size_of(tensor.dtype);
  if (tensor.first >= 0 && bytes % width == 0 && tensor.first * width + bytes <= whole) return;
  refuse("tensor " + tensor.name + " has " + std::to_string(bytes) + " bytes from element " +
         std::to_string(tensor.first) + " on, its shape and dtype need " + std::to_string(whole));
}

void require_valid_content(const CheckpointContent& content) {
  if (content.step < 0) refuse("step " + std::to_string(content.step) + " is negative");
  if (!nlohmann::json::accept(content.state_json)) refuse("the state text is not JSON");
  if (content.state_json.size() > kMaxStateBytes) {
    refuse("the state text has " + std::to_string(content.state_json.size()) + " bytes, at most " +
           std::to_string(kMaxStateBytes) + " fit into a manifest: keep large things in files of your own");
  }
  std::set<std::pair<std::string_view, std::int64_t>> names;
  for (const auto& tensor : content.tensors) {
    require_valid(tensor);
    if (!names.insert({tensor.name, tensor.first}).second) {
      refuse("two tensors are called " + tensor.name);
    }
  }
}

/// What every rank has alike.
std::vector<TensorBytes> common_of(std::span<const TensorBytes> tensors) {
  std::vector<TensorBytes> common;
  std::ranges::copy_if(tensors, std::back_inserter(common),
                       [](const TensorBytes& tensor) { return !tensor.is_dealt; });
  return common;
}

/// Equal on two ranks where their tables of common tensors and states are; says nothing about
/// bytes.
std::string fingerprint(const CheckpointContent& content) {
  nlohmann::json table = {content.step, content.state_json};
  for (const auto& tensor : common_of(content.tensors)) {
    table.push_back({tensor.name, name_of(tensor.dtype), tensor.shape});
  }
  return sha256_of(table.dump());
}

}  // namespace

void require_agreed_content(Communicator& communicator, const CheckpointContent& content) {
  std::string mine;
  agreed(communicator, [&] {
    require_valid_content(content);
    mine = fingerprint(content);
  });
  const auto all = all_gather_strings(communicator, mine);
  for (std::size_t rank = 1; rank < all.size(); ++rank) {
    if (all[rank] != all[0]) {
      refuse("rank " + std::to_string(rank) +
             " has other tensor names, shapes, state or step than rank 0: the ranks are out of "
             "step");
    }
  }
}

void require_room(Communicator& communicator, std::span<const TensorBytes> tensors) {
  std::int64_t num_dealt = std::ranges::count_if(tensors, &TensorBytes::is_dealt);
  const auto num_common = std::ssize(tensors) - num_dealt;
  communicator.all_reduce(&num_dealt, 1, DType::Int64, ReduceOp::Sum);
  require_room_for(num_common + num_dealt);
}

std::vector<TensorBytes> share_of(std::span<const TensorBytes> tensors, int rank, int num_ranks) {
  const auto common = common_of(tensors);
  std::vector<std::int64_t> bytes;
  for (const auto& tensor : common) {
    bytes.push_back(static_cast<std::int64_t>(tensor.bytes.size()));
  }
  const auto owners = assign_by_bytes(bytes, num_ranks);
  std::vector<TensorBytes> share;
  for (std::size_t i = 0; i < owners.size(); ++i) {
    if (owners[i] == rank) share.push_back(common[i]);
  }
  std::ranges::copy_if(tensors, std::back_inserter(share), &TensorBytes::is_dealt);
  return share;
}

}  // namespace hone::checkpoints::detail
