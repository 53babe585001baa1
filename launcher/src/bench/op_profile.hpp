#pragma once

#include <ATen/record_function.h>
#include <c10/core/ScalarType.h>

#include <array>
#include <cstdint>
#include <map>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

namespace hone::launcher {

/// What time is for.
enum class Work {
  Products,     ///< matrix products of layers and of the output layer
  Attention,    ///< between queries, keys and values
  Loss,         ///< of logits, its gradient included
  Elementwise,  ///< whatever other operator
  Allocation,   ///< taking memory for tensors and giving it back, in operators and between them
};
constexpr std::size_t kNumWorks = 5;
constexpr std::array<std::string_view, kNumWorks> kWorkNames{"products", "attention", "loss",
                                                             "elementwise", "allocation"};

/// One kind of matrix product: (rows x inner) (inner x columns).
struct Product {
  std::int64_t rows = 0, inner = 0, columns = 0;
  bool left_transposed = false, right_transposed = false;
  c10::ScalarType dtype = c10::ScalarType::Float;

  auto operator<=>(const Product&) const = default;
};

/// Adds up what LibTorch's operators take by themselves, less the operators that they call and less
/// their allocations, from construction to destruction. One at a time, and what the thread does that
/// made it: operators that its operators run on other threads are part of those. Memory that is
/// touched for the first time costs the operator that touches it, not the allocation. To be made
/// after keep_tensor_memory().
class OpProfile {
 public:
  OpProfile();
  ~OpProfile();
  OpProfile(const OpProfile&) = delete;
  OpProfile& operator=(const OpProfile&) = delete;

  /// Whether what comes counts; at first it does not.
  void listen(bool wanted) { listens_ = wanted; }

  /// What was counted so far is forgotten.
  void clear();

  /// Units: seconds, by Work.
  const std::array<double, kNumWorks>& seconds() const { return seconds_; }
  const std::array<std::int64_t, kNumWorks>& calls() const { return calls_; }
  struct Operator {
    double seconds = 0.0;
    std::int64_t calls = 0;
  };
  const std::map<std::string, Operator>& operators() const { return operators_; }
  /// How often each kind of product was made.
  const std::map<Product, std::int64_t>& products() const { return products_; }

 private:
  struct Open;  // an operator at work
  class AllocationTimer;
  class TimedAllocator;

  static std::unique_ptr<at::ObserverContext> begin(const at::RecordFunction& function);
  static void end(const at::RecordFunction& function, at::ObserverContext* context);

  std::array<double, kNumWorks> seconds_{};
  std::array<std::int64_t, kNumWorks> calls_{};
  std::map<std::string, Operator> operators_;
  std::map<Product, std::int64_t> products_;
  bool listens_ = false;
  std::vector<Open*> open_;
  int losses_open_ = 0;
  at::CallbackHandle handle_;
};

/// Multiplications and additions of all of them.
double operations_of(const std::map<Product, std::int64_t>& products);

/// Seconds that the products take by themselves, into memory that is there: what is left when
/// nothing else is to be done. The fastest of some repetitions of each kind.
double floor_of(const std::map<Product, std::int64_t>& products);

}  // namespace hone::launcher
