#pragma once

#include <memory>
#include <optional>
#include <string_view>

#include "hone/core/communicator.hpp"
#include "hone/core/logger.hpp"
#include "hone/distributed/communicator_factory.hpp"
#include "hone/distributed/device.hpp"
#include "hone/distributed/flight_recorder.hpp"
#include "hone/distributed/mpi_environment.hpp"

namespace hone::distributed {
class NcclCommunicator;
}  // namespace hone::distributed

namespace hone::launcher {

struct EngineOptions {
  bool use_cpu = false;
  bool allow_shared_device = false;
  distributed::Backend backend = distributed::Backend::Auto;
  std::optional<double> timeout = {};  ///< units: seconds; of a collective on GPUs
};

/// Where this rank computes, and what sums buffers that lie there: a GPU and NCCL where every rank
/// has one, else the processor and the job's own communicator. Collective: construction and
/// close().
class Engine {
 public:
  /// Ownership: `host`, `recorder` and `log` outlive it. Call it before anything is computed.
  /// Throws: LaunchError on all ranks alike: no GPU for one of them, or one for two; some with and
  /// some without; a backend that does not fit.
  Engine(const EngineOptions& options, const distributed::MpiEnvironment& mpi, Communicator& host,
         distributed::FlightRecorder& recorder, Logger& log);
  ~Engine();

  distributed::Device& device() { return *device_; }
  /// Throws: LaunchError where ranks share GPUs.
  Communicator& communicator();
  /// "nccl", or the host's.
  std::string_view backend() const { return watched_ ? watched_->backend() : host_.backend(); }

  /// Ends NCCL in order; without it, it is aborted.
  void close();

 private:
  void open_device(const EngineOptions& options, int local_rank, Logger& log);
  void open_nccl(const EngineOptions& options, distributed::FlightRecorder& recorder);

  Communicator& host_;
  std::unique_ptr<distributed::Device> device_;
  distributed::NcclCommunicator* nccl_ = nullptr;  ///< within `watched_`
  std::unique_ptr<Communicator> watched_;
};

}  // namespace hone::launcher
