#include "job/torch_settings.hpp"

#include <ATen/Context.h>
#include <ATen/Parallel.h>
#include <ATen/TensorOperators.h>
#include <ATen/ops/arange.h>
#include <ATen/ops/mm.h>

#include <fstream>

#include "hone/core/communicator.hpp"
#include "hone/core/memory/tensor_memory.hpp"

namespace hone::launcher {
namespace {

bool is_intel() {
  std::ifstream cpu{"/proc/cpuinfo"};
  for (std::string line; std::getline(cpu, line);) {
    if (line.starts_with("vendor_id")) return line.find("GenuineIntel") != std::string::npos;
  }
  return false;
}

void set_onednn(bool on) {
  at::globalContext().setFloat32Precision(
      at::Float32Backend::MKLDNN, at::Float32Op::MATMUL,
      on ? at::Float32Precision::BF16 : at::Float32Precision::NONE);
}

/// Largest error of a float32 product, relative to the largest entry; bfloat16 products are off by
/// some 1e-3.
double product_error() {
  constexpr std::int64_t kRows = 64, kInner = 512, kColumns = 96;
  const auto wave = [](std::int64_t rows, std::int64_t columns, double step) {
    return (at::arange(rows * columns, at::kDouble) * step).sin().view({rows, columns});
  };
  const auto a = wave(kRows, kInner, 0.37).to(at::kFloat), b = wave(kInner, kColumns, 0.73).to(at::kFloat);
  const auto exact = at::mm(a.to(at::kDouble), b.to(at::kDouble));
  const auto error = (at::mm(a, b).to(at::kDouble) - exact).abs().max() / exact.abs().max();
  return error.item<double>();
}

}  // namespace

void prepare_torch(int num_threads) {
  keep_tensor_memory();
  at::set_num_threads(num_threads);
}

std::string choose_matmul_library(Communicator& comm) {
  bool fits = !is_intel() && at::globalContext().hasMKLDNN();
  if (fits) {
    set_onednn(true);
    fits = product_error() < 1e-5;
  }
  const bool agreed = all_true(comm, fits);
  set_onednn(agreed);
  return agreed ? "oneDNN" : "MKL";
}

}  // namespace hone::launcher
