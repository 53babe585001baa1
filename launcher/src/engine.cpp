#include "engine.hpp"

#include <algorithm>
#include <chrono>
#include <string>
#include <utility>

#include "hone/core/error.hpp"
#include "hone/distributed/cuda_module.hpp"
#include "hone/distributed/device_sharing.hpp"
#include "hone/distributed/nccl_communicator.hpp"
#include "hone/distributed/watched_communicator.hpp"
#include "hone/launcher/cpu_topology.hpp"

namespace hone::launcher {
namespace {

using distributed::Backend;

/// Loaded with LibTorch's CUDA part, which needs it: then this is that one.
constexpr const char* kNccl = "libnccl.so.2";

/// NCCL only knows that it waits; the watchdog, which ends the job at the same limit, knows for
/// whom.
constexpr std::chrono::seconds kWatchdogFirst{15};
/// However short the limit of a collective is.
constexpr std::chrono::milliseconds kLeastStart{15'000};

void require_one_kind(Communicator& host, std::string_view mine) {
  const auto kinds = all_gather_strings(host, mine);
  for (std::size_t rank = 1; rank < kinds.size(); ++rank) {
    if (kinds[rank] == kinds[0]) continue;
    throw LaunchError{"rank " + std::to_string(rank) + " computes on " + kinds[rank] +
                      ", rank 0 on " + kinds[0] +
                      ". Use nodes of one kind, or --use_cpu on all ranks"};
  }
}

/// Whether what lies on the device is summed by NCCL, which works on a stream of the device's.
bool needs_nccl(distributed::Device& device) { return device.communication_stream() != nullptr; }

/// All ranks were given the same.
void require_backend_fits(Backend backend, bool on_gpus, int num_ranks) {
  if (backend == Backend::Loopback && num_ranks > 1) {
    throw LaunchError{"ddp_backend=loopback is for one rank, and this job has " +
                      std::to_string(num_ranks) +
                      ": every rank would train alone. Use ddp_backend=auto or mpi, or start one rank"};
  }
  if (backend == Backend::Nccl && !on_gpus) {
    throw LaunchError{"ddp_backend=nccl is for GPUs, and these ranks compute on the CPU. Use "
                      "ddp_backend=auto or mpi"};
  }
  if (backend == Backend::Mpi && on_gpus && num_ranks > 1) {
    throw LaunchError{"ddp_backend=mpi sums what is in host memory, and these ranks compute on GPUs. "
                      "Use ddp_backend=auto or nccl, or --use_cpu"};
  }
}

}  // namespace

Engine::Engine(const EngineOptions& options, const distributed::MpiEnvironment& mpi,
               Communicator& host, distributed::FlightRecorder& recorder, Logger& log)
    : host_(host) {
  run_agreed(host_, [&] { open_device(options, mpi.local_rank(), log); });
  require_one_kind(host_, device_->kind());
  const bool shared = distributed::devices_are_shared(host_, device_->uuid(),
                                                      options.allow_shared_device);
  const bool on_gpus = needs_nccl(*device_);
  require_backend_fits(options.backend, on_gpus, host_.size());
  // NCCL takes one rank per GPU: ranks that share one can generate and evaluate, not train.
  if (on_gpus && host_.size() > 1 && !shared) open_nccl(options, recorder);
}

Communicator& Engine::communicator() {
  if (watched_) return *watched_;
  if (!needs_nccl(*device_) || host_.size() == 1) return host_;
  throw LaunchError{"ranks that share a GPU cannot sum gradients: NCCL takes one rank per GPU. Start "
                    "as many ranks as there are GPUs, or train with --use_cpu"};
}

Engine::~Engine() = default;

void Engine::open_device(const EngineOptions& options, int local_rank, Logger& log) {
  if (!options.use_cpu && describe_machine().has_nvidia_driver) {
    const auto module = distributed::find_cuda_module();
    if (!module.empty()) {
      device_ = distributed::open_cuda_device(module, local_rank);
      return;
    }
    log.warning("this machine has an NVIDIA driver, but hone was built without the GPU module "
                "(libhone_cuda.so) and computes on the CPU (--use_cpu says that you know)");
  }
  device_ = std::make_unique<distributed::CpuDevice>();
}

void Engine::open_nccl(const EngineOptions& options, distributed::FlightRecorder& recorder) {
  distributed::NcclTimes times;
  if (options.timeout) {
    times.collective = std::chrono::duration_cast<std::chrono::milliseconds>(
        std::chrono::duration<double>{*options.timeout});
    times.init = std::clamp(times.collective, kLeastStart, times.init);
  }
  times.collective += kWatchdogFirst;
  recorder.enter("NCCL");
  distributed::NcclApi api;
  run_agreed(host_, [&] { api = distributed::load_nccl(kNccl); });
  auto nccl = std::make_unique<distributed::NcclCommunicator>(api, *device_, host_, times);
  nccl_ = nccl.get();
  watched_ = std::make_unique<distributed::WatchedCommunicator>(std::move(nccl), recorder);
}

void Engine::close() {
  if (nccl_ != nullptr) nccl_->close();
}

}  // namespace hone::launcher
