#include "hone/distributed/communicator_factory.hpp"

#include <string>

#include "hone/core/error.hpp"
#include "hone/distributed/loopback_communicator.hpp"
#include "hone/distributed/mpi_communicator.hpp"

namespace hone::distributed {

Backend parse_backend(std::string_view name) {
  if (name == "auto") return Backend::Auto;
  if (name == "loopback") return Backend::Loopback;
  if (name == "mpi" || name == "gloo") return Backend::Mpi;
  if (name == "nccl") return Backend::Nccl;
  throw ConfigError{"ddp_backend: unknown backend \"" + std::string{name} +
                    "\"; choose auto, loopback, mpi, gloo (the same as mpi) or nccl"};
}

std::unique_ptr<Communicator> make_communicator(Backend backend, const MpiEnvironment& environment) {
  const bool is_alone = environment.size() == 1;
  if (is_alone && backend != Backend::Mpi) return std::make_unique<LoopbackCommunicator>();
  return std::make_unique<MpiCommunicator>();
}

}  // namespace hone::distributed
