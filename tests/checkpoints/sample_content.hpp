#pragma once

#include <algorithm>
#include <cstddef>
#include <functional>
#include <string>
#include <utility>
#include <vector>

#include "hone/core/checkpoint_store.hpp"

namespace hone::testing {

/// Tensors that own their bytes. Bytes are a function of (salt, name): two salts differ everywhere.
class Tensors {
 public:
  explicit Tensors(unsigned salt) : salt_(salt) {}

  Tensors& add(const std::string& name, DType dtype, const std::vector<std::int64_t>& shape) {
    std::int64_t bytes = size_of(dtype);
    for (const auto size : shape) bytes *= size;
    auto state = static_cast<unsigned>(std::hash<std::string>{}(name)) ^ (salt_ * 2654435761U);
    std::vector<std::byte> data(static_cast<std::size_t>(bytes));
    for (auto& byte : data) {
      state = state * 1664525U + 1013904223U;
      byte = static_cast<std::byte>(state >> 24);
    }
    entries_.push_back({name, dtype, shape, std::move(data)});
    return *this;
  }

  std::vector<TensorBytes> views() {
    std::vector<TensorBytes> views;
    for (auto& entry : entries_) {
      views.push_back({entry.name, entry.dtype, entry.shape, entry.bytes});
    }
    return views;
  }

  void clear_bytes() {
    for (auto& entry : entries_) std::fill(entry.bytes.begin(), entry.bytes.end(), std::byte{0});
  }

  bool operator==(const Tensors& other) const { return entries_ == other.entries_; }

 private:
  struct Entry {
    std::string name;
    DType dtype;
    std::vector<std::int64_t> shape;
    std::vector<std::byte> bytes;
    bool operator==(const Entry&) const = default;
  };
  unsigned salt_;
  std::vector<Entry> entries_;
};

/// Every dtype, a scalar, an empty tensor, folders in names, sizes far apart.
inline Tensors sample_tensors(unsigned salt) {
  Tensors tensors{salt};
  tensors.add("model/wte.weight", DType::Float32, {50, 8})
      .add("model/h.0.attn.bias", DType::Float32, {8})
      .add("model/h.0.mlp.weight", DType::BFloat16, {3, 5})
      .add("model/half", DType::Float16, {7})
      .add("exp_avg/wte.weight", DType::Float32, {50, 8})
      .add("exp_avg/h.0.attn.bias", DType::Float64, {2, 2})
      .add("counters/updates", DType::Int64, {})
      .add("counters/none", DType::Int64, {0, 4})
      .add("random", DType::UInt8, {16});
  return tensors;
}

inline constexpr const char* kLog = "metrics.jsonl";  ///< in the run directory

inline std::string state_of(unsigned salt) {
  return R"({"epoch": 1.5, "text": "\u00e9 \"quoted\"", "salt": )" + std::to_string(salt) + "}";
}

inline CheckpointContent content_of(Tensors& tensors, std::int64_t step, unsigned salt) {
  return {step, tensors.views(), state_of(salt), {}};
}

}  // namespace hone::testing
