// How fast a communicator sums: GB/s = bytes of the buffer / median time of one all_reduce.
//   mpirun -np 2 all_reduce_bench [megabytes]    over MPI
//   all_reduce_bench [megabytes] [ranks]         over threads

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <vector>

#include "hone/distributed/mpi_communicator.hpp"
#include "hone/distributed/mpi_environment.hpp"
#include "hone/distributed/thread_world.hpp"

namespace {

using Clock = std::chrono::steady_clock;

double seconds_of_one(hone::Communicator& comm, std::vector<float>& values) {
  comm.barrier();
  const auto start = Clock::now();
  comm.all_reduce(values.data(), static_cast<std::int64_t>(values.size()), hone::DType::Float32,
                  hone::ReduceOp::Sum);
  comm.barrier();
  return std::chrono::duration<double>(Clock::now() - start).count();
}

void measure(hone::Communicator& comm, std::size_t megabytes) {
  constexpr int kRepeats = 9;
  std::vector<float> values(megabytes * 250'000);
  std::vector<double> seconds;
  for (int i = -1; i < kRepeats; ++i) {  // one to warm up
    std::fill(values.begin(), values.end(), static_cast<float>(comm.rank() + 1));
    const double taken = seconds_of_one(comm, values);
    if (i >= 0) seconds.push_back(taken);
  }
  std::sort(seconds.begin(), seconds.end());
  if (comm.rank() != 0) return;
  const double gigabytes = static_cast<double>(megabytes) / 1000;
  std::printf("%s, %d ranks, %zu MB: %.3f s, %.2f GB/s [%.2f..%.2f] of %d\n",
              std::string{comm.backend()}.c_str(), comm.size(), megabytes, seconds[kRepeats / 2],
              gigabytes / seconds[kRepeats / 2], gigabytes / seconds.back(),
              gigabytes / seconds.front(), kRepeats);
}

}  // namespace

int main(int argc, char** argv) {
  const hone::distributed::MpiEnvironment environment;
  const std::size_t megabytes = argc > 1 ? std::strtoul(argv[1], nullptr, 10) : 500;
  if (environment.size() > 1) {
    hone::distributed::MpiCommunicator comm;
    measure(comm, megabytes);
    return 0;
  }
  const int num_ranks = argc > 2 ? std::atoi(argv[2]) : 2;
  hone::distributed::ThreadWorld{num_ranks}.run(
      [&](hone::Communicator& comm) { measure(comm, megabytes); });
  return 0;
}
