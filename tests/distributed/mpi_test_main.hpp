#pragma once

#include "hone/distributed/mpi_environment.hpp"

namespace hone::testing {

/// The MPI of this test program, alive while its tests run.
const distributed::MpiEnvironment& mpi_environment();

}  // namespace hone::testing
