#include "job/session_parts.hpp"

#include "hone/distributed/all_reduce_gradient_reducer.hpp"
#include "hone/distributed/tree_gradient_reducer.hpp"
#include "job/torch_settings.hpp"

namespace hone::launcher {

std::unique_ptr<GradientReducer> make_reducer(Session& session, const TrainerOptions& options) {
  if (options.full_determinism) {
    return std::make_unique<distributed::TreeGradientReducer>(session.communicator());
  }
  auto& comm = session.device_communicator();
  distributed::ReducerOptions reducer{.bfloat16_on_wire = options.ddp_comm_hook == "bf16"};
  if (comm.is_asynchronous()) reducer.bucket_bytes = options.ddp_bucket_cap_mb << 20;
  return std::make_unique<distributed::AllReduceGradientReducer>(comm, reducer, &session.device());
}

at::Device torch_device(Session& session) {
  const auto& device = session.device();
  if (device.kind() == "cpu") return at::kCPU;
  return {at::kCUDA, static_cast<c10::DeviceIndex>(device.index())};
}

std::string choose_products(Session& session) {
  const auto of_cpus = choose_matmul_library(session.communicator());
  return torch_device(session).is_cpu() ? of_cpus : "cuBLAS";
}

}  // namespace hone::launcher
