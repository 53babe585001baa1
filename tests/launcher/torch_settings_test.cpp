// Products of float32 are those of float32, whichever library makes them.
#include "job/torch_settings.hpp"

#include <ATen/TensorOperators.h>
#include <ATen/ops/mm.h>
#include <ATen/ops/randn.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "hone/distributed/thread_world.hpp"

namespace hone::launcher {
namespace {

double error_of_a_product() {
  const auto a = at::randn({300, 700}), b = at::randn({700, 200});
  const auto exact = at::mm(a.to(at::kDouble), b.to(at::kDouble));
  return ((at::mm(a, b).to(at::kDouble) - exact).abs().max() / exact.abs().max()).item<double>();
}

TEST(TorchSettings, ProductsAreNoLessThanFloat32) {
  EXPECT_LT(error_of_a_product(), 1e-5) << "as LibTorch comes";
  distributed::ThreadWorld{1}.run([](Communicator& comm) {
    EXPECT_THAT(choose_matmul_library(comm), ::testing::AnyOf("oneDNN", "MKL"));
    EXPECT_LT(error_of_a_product(), 1e-5);
  });
}

}  // namespace
}  // namespace hone::launcher
