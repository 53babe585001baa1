#include "hone/distributed/communicator_factory.hpp"

#include <string>

#include "hone/core/error.hpp"
#include "hone/distributed/loopback_communicator.hpp"
#include "hone/distributed/mpi_communicator.hpp"

namespace hone::distributed {
namespace {

std::unique_ptr<Communicator> make_loopback(const MpiEnvironment& environment) {
  if (environment.size() > 1) {
    throw LaunchError{"ddp_backend=loopback is for one rank, and this job has " +
                      std::to_string(environment.size()) +
                      ": every rank would train alone. Use ddp_backend=auto or mpi, or start one rank"};
  }
  return std::make_unique<LoopbackCommunicator>();
}

}  // namespace

Backend parse_backend(std::string_view name) {
  if (name == "auto") return Backend::Auto;
  if (name == "loopback") return Backend::Loopback;
  if (name == "mpi" || name == "gloo") return Backend::Mpi;
  if (name == "nccl") return Backend::Nccl;
  throw ConfigError{"ddp_backend: unknown backend \"" + std::string{name} +
                    "\"; choose auto, loopback, mpi, gloo (the same as mpi) or nccl"};
}

std::unique_ptr<Communicator> make_communicator(Backend backend, const MpiEnvironment& environment) {
  switch (backend) {
    case Backend::Auto:
    case Backend::Nccl:  // sums on GPUs; everything else goes over MPI
      if (environment.size() == 1) return make_loopback(environment);
      return std::make_unique<MpiCommunicator>();
    case Backend::Loopback: return make_loopback(environment);
    case Backend::Mpi: return std::make_unique<MpiCommunicator>();
  }
  throw LaunchError{"no such backend"};
}

}  // namespace hone::distributed
