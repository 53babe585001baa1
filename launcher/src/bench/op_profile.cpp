#include "bench/op_profile.hpp"

#include <ATen/core/Tensor.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/mm.h>
#include <ATen/ops/randn.h>
#include <c10/core/CPUAllocator.h>

#include <algorithm>
#include <chrono>
#include <optional>
#include <set>
#include <stdexcept>
#include <string>

namespace hone::launcher {
namespace {

using Clock = std::chrono::steady_clock;

/// The profile that is made of this thread.
thread_local OpProfile* current = nullptr;

double seconds_since(Clock::time_point start) {
  return std::chrono::duration<double>(Clock::now() - start).count();
}

Work work_of(std::string_view name, bool in_loss) {
  static const std::set<std::string_view> kProducts{"aten::mm", "aten::addmm", "aten::addmm_"};
  static const std::set<std::string_view> kAttention{
      "aten::bmm", "aten::baddbmm", "aten::baddbmm_", "aten::_softmax",
      "aten::_softmax_backward_data"};
  if (kProducts.contains(name)) return Work::Products;
  if (in_loss) return Work::Loss;
  const bool is_attention =
      kAttention.contains(name) || name.find("attention") != std::string_view::npos;
  return is_attention ? Work::Attention : Work::Elementwise;
}

bool is_transposed(const at::Tensor& matrix) {
  return matrix.stride(0) == 1 && matrix.stride(1) != 1;
}

/// The matrices of a product are its last two tensors; addmm has what it adds to before them.
std::optional<Product> product_of(std::string_view name, c10::ArrayRef<const c10::IValue> inputs) {
  const std::size_t first = name == "aten::mm" ? 0 : 1;
  if (inputs.size() < first + 2 || !inputs[first].isTensor() || !inputs[first + 1].isTensor()) return {};
  const auto& left = inputs[first].toTensor();
  const auto& right = inputs[first + 1].toTensor();
  if (left.dim() != 2 || right.dim() != 2) return {};
  return Product{.rows = left.size(0),
                 .inner = left.size(1),
                 .columns = right.size(1),
                 .left_transposed = is_transposed(left),
                 .right_transposed = is_transposed(right),
                 .dtype = left.scalar_type()};
}

at::Tensor matrix(std::int64_t rows, std::int64_t columns, bool transposed, c10::ScalarType dtype) {
  const auto options = at::TensorOptions{dtype};
  return transposed ? at::randn({columns, rows}, options).t() : at::randn({rows, columns}, options);
}

double seconds_of(const Product& product) {
  constexpr int kRepeats = 3;
  const auto left = matrix(product.rows, product.inner, product.left_transposed, product.dtype);
  const auto right = matrix(product.inner, product.columns, product.right_transposed, product.dtype);
  auto result = at::empty({product.rows, product.columns}, left.options());
  at::mm_out(result, left, right);
  double fastest = 1e300;
  for (int i = 0; i < kRepeats; ++i) {
    const auto start = Clock::now();
    at::mm_out(result, left, right);
    fastest = std::min(fastest, seconds_since(start));
  }
  return fastest;
}

}  // namespace

struct OpProfile::Open final : at::ObserverContext {
  Clock::time_point start;
  double inner = 0.0;  ///< seconds of the operators that it called
  bool is_loss = false;
};

/// Counts its own lifetime as allocation.
class OpProfile::AllocationTimer {
 public:
  AllocationTimer() = default;
  ~AllocationTimer() {
    if (current == nullptr || !current->listens_) return;
    const double seconds = seconds_since(start_);
    const auto work = static_cast<std::size_t>(Work::Allocation);
    current->seconds_[work] += seconds;
    ++current->calls_[work];
    if (!current->open_.empty()) current->open_.back()->inner += seconds;
  }
  AllocationTimer(const AllocationTimer&) = delete;
  AllocationTimer& operator=(const AllocationTimer&) = delete;

 private:
  Clock::time_point start_ = Clock::now();
};

/// The allocator that was there when the first profile was made, with a timer. Never destroyed, since
/// tensors outlive a profile.
class OpProfile::TimedAllocator final : public c10::Allocator {
 public:
  static void install() {
    static auto* const timed = new TimedAllocator;
    c10::SetCPUAllocator(timed, kPriority);
  }
  static void uninstall() { c10::SetCPUAllocator(&inner(), kPriority); }

  c10::DataPtr allocate(std::size_t bytes) override {
    const AllocationTimer timer;
    void* const block = inner().raw_allocate(bytes);
    return {block, block, &release, c10::Device{c10::DeviceType::CPU}};
  }
  c10::DeleterFnPtr raw_deleter() const override { return &release; }
  void copy_data(void* to, const void* from, std::size_t bytes) const override {
    default_copy_data(to, from, bytes);
  }

 private:
  static constexpr std::uint8_t kPriority = 2;  // above keep_tensor_memory()'s

  TimedAllocator() { inner(); }
  static c10::Allocator& inner() {
    static c10::Allocator& before = *c10::GetCPUAllocator();
    return before;
  }
  static void release(void* block) {
    const AllocationTimer timer;
    inner().raw_deallocate(block);
  }
};

OpProfile::OpProfile() {
  if (current != nullptr) throw std::logic_error{"a profile is being made already"};
  current = this;
  TimedAllocator::install();
  handle_ = at::addGlobalCallback(
      at::RecordFunctionCallback(&OpProfile::begin, &OpProfile::end)
          .needsInputs(true)
          .scopes({at::RecordScope::FUNCTION, at::RecordScope::USER_SCOPE}));
}

OpProfile::~OpProfile() {
  at::removeCallback(handle_);
  TimedAllocator::uninstall();
  current = nullptr;
}

void OpProfile::clear() {
  seconds_ = {};
  calls_ = {};
  operators_.clear();
  products_.clear();
}

std::unique_ptr<at::ObserverContext> OpProfile::begin(const at::RecordFunction& function) {
  if (current == nullptr || !current->listens_) return nullptr;
  auto open = std::make_unique<Open>();
  open->is_loss = function.scope() == at::RecordScope::USER_SCOPE &&
                  std::string_view{function.name()} == "head_loss";
  auto& profile = *current;
  if (open->is_loss) ++profile.losses_open_;
  profile.open_.push_back(open.get());
  const std::string_view name = function.name();
  if (work_of(name, false) == Work::Products) {
    if (const auto product = product_of(name, function.inputs())) ++profile.products_[*product];
  }
  open->start = Clock::now();
  return open;
}

void OpProfile::end(const at::RecordFunction& function, at::ObserverContext* context) {
  if (context == nullptr) return;
  auto& profile = *current;
  auto* const open = static_cast<Open*>(context);
  const double seconds = seconds_since(open->start);
  const auto work = static_cast<std::size_t>(work_of(function.name(), profile.losses_open_ > 0));
  if (open->is_loss) --profile.losses_open_;
  profile.seconds_[work] += seconds - open->inner;
  ++profile.calls_[work];
  auto& of_name = profile.operators_[function.name()];
  of_name.seconds += seconds - open->inner;
  ++of_name.calls;
  profile.open_.pop_back();
  if (!profile.open_.empty()) profile.open_.back()->inner += seconds;
}

double operations_of(const std::map<Product, std::int64_t>& products) {
  double sum = 0.0;
  for (const auto& [product, count] : products) {
    sum += 2.0 * static_cast<double>(product.rows * product.inner) *
           static_cast<double>(product.columns * count);
  }
  return sum;
}

double floor_of(const std::map<Product, std::int64_t>& products) {
  double sum = 0.0;
  for (const auto& [product, count] : products) {
    sum += seconds_of(product) * static_cast<double>(count);
  }
  return sum;
}

}  // namespace hone::launcher
