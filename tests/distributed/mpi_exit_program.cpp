// How a job of two ranks ends, for mpi_exit_test.cpp: rank 1 does what the argument says while rank
// 0 waits for it.

#include <stdexcept>
#include <string>

#include "hone/distributed/mpi_communicator.hpp"
#include "hone/distributed/mpi_environment.hpp"

namespace {

int run(const std::string& mode) {
  hone::distributed::MpiEnvironment environment;
  if (mode == "finalize") {
    environment.finalize();
    environment.finalize();
    return 0;
  }
  hone::distributed::MpiCommunicator comm;
  if (comm.rank() == 1 && mode == "abort") comm.abort(75);
  if (comm.rank() == 1 && mode == "throw") throw std::runtime_error{"rank 1 fails alone"};
  comm.barrier();
  return mode == "return" ? 75 : 0;
}

}  // namespace

int main(int, char** argv) {
  try {
    return run(argv[1]);
  } catch (const std::exception&) {
    return 1;
  }
}
