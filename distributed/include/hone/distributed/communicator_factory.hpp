#pragma once

#include <memory>
#include <string_view>

#include "hone/core/communicator.hpp"
#include "hone/distributed/mpi_environment.hpp"

namespace hone::distributed {

/// How the ranks of a job communicate.
enum class Backend {
  Auto,      ///< loopback where the job has one rank, else MPI; on GPUs with NCCL
  Loopback,  ///< one rank, no communication; refused with more
  Mpi,
  Nccl,      ///< as Auto, and refused without GPUs
};

/// The value of `--ddp_backend`: "auto", "loopback", "mpi", "gloo" or "nccl". The last three are
/// Hugging Face's spelling; "gloo", its name for training on CPU ranks, means MPI here.
/// Throws: ConfigError naming the choices.
Backend parse_backend(std::string_view name);

/// The communicator of this process for host memory, over which ranks can find out that they were
/// given different backends, or one that does not fit the job: of several ranks always MPI's.
/// Collective: all ranks.
/// Throws: LaunchError where MPI cannot set it up.
std::unique_ptr<Communicator> make_communicator(Backend backend, const MpiEnvironment& environment);

}  // namespace hone::distributed
