// One round of sums of float32 over the ranks of a job, by hone and by MPI itself: each way once untimed, then
// --repeats times in turn. Rank 0 prints a line of JSON for each time, that of the slowest rank.

#include <mpi.h>

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <cstring>
#include <functional>
#include <span>
#include <stdexcept>
#include <string>
#include <vector>

#include "hone/distributed/mpi_communicator.hpp"
#include "hone/distributed/mpi_environment.hpp"

namespace hone::bench {
namespace {

using Clock = std::chrono::steady_clock;

struct Way {
  const char* name;
  std::span<float> values;
  std::function<void()> run;
  bool sums = true;  ///< whether each value must then be the number of ranks
};

void all_reduce_in_chunks(std::span<float> values, std::size_t chunk) {
  while (!values.empty()) {
    const auto count = std::min(chunk, values.size());
    MPI_Allreduce(MPI_IN_PLACE, values.data(), static_cast<int>(count), MPI_FLOAT, MPI_SUM,
                  MPI_COMM_WORLD);
    values = values.subspan(count);
  }
}

/// Reads and writes every value and does hardly more: what memory allows a sum in place.
void scale_in_place(std::span<float> values) {
  const volatile float one = 1.0F;  // unknown to the compiler
  const float factor = one;
  for (auto& value : values) value *= factor;
}

double seconds_of_slowest(const Way& way) {
  std::ranges::fill(way.values, 1.0F);
  MPI_Barrier(MPI_COMM_WORLD);
  const auto start = Clock::now();
  way.run();
  double seconds = std::chrono::duration<double>(Clock::now() - start).count();
  MPI_Allreduce(MPI_IN_PLACE, &seconds, 1, MPI_DOUBLE, MPI_MAX, MPI_COMM_WORLD);
  return seconds;
}

void require_sums(const Way& way, int num_ranks) {
  const auto expected = static_cast<float>(way.sums ? num_ranks : 1);
  if (std::ranges::all_of(way.values, [&](float value) { return value == expected; })) return;
  throw std::runtime_error{std::string{way.name} + " gives a wrong sum"};
}

void measure(std::size_t bytes, int repeats, const distributed::MpiEnvironment& environment) {
  const auto count = bytes / sizeof(float);
  distributed::MpiCommunicator comm;
  const auto memory = comm.allocate(static_cast<std::int64_t>(bytes));
  if (memory == nullptr) throw std::runtime_error{"no shared memory: " + comm.memory_refusal()};
  const std::span own{reinterpret_cast<float*>(memory.get()), count};
  std::vector<float> anywhere(count);
  std::vector<float> copy(count);
  const std::span any{anywhere};
  const auto sum = [&](std::span<float> values) {
    comm.all_reduce(values.data(), static_cast<std::int64_t>(count), DType::Float32, ReduceOp::Sum);
  };
  const std::vector<Way> ways{
      {"hone, memory that it allocates", own, [&] { sum(own); }},
      {"hone, any memory", any, [&] { sum(any); }},
      {"MPI_Allreduce, one call", any, [&] { all_reduce_in_chunks(any, count); }},
      {"MPI_Allreduce, 1 MB chunks", any, [&] { all_reduce_in_chunks(any, 250'000); }},
      {"memcpy by each process", any, [&] { std::memcpy(copy.data(), any.data(), bytes); }, false},
      {"read and write, each process", any, [&] { scale_in_place(any); }, false}};
  for (int round = 0; round <= repeats; ++round) {
    for (const auto& way : ways) {
      const double seconds = seconds_of_slowest(way);
      require_sums(way, comm.size());
      if (round == 0 || environment.rank() != 0) continue;
      std::printf("{\"way\": \"%s\", \"seconds\": %.6f}\n", way.name, seconds);
    }
  }
}

}  // namespace
}  // namespace hone::bench

int main(int argc, char** argv) {
  if (argc != 3) {
    std::fprintf(stderr, "usage: mpirun -np N all_reduce_bench BYTES REPEATS\n");
    return 64;
  }
  const hone::distributed::MpiEnvironment environment;
  try {
    hone::bench::measure(std::stoul(argv[1]), std::stoi(argv[2]), environment);
  } catch (const std::exception& error) {
    std::fprintf(stderr, "[rank %d] %s\n", environment.rank(), error.what());
    MPI_Abort(MPI_COMM_WORLD, 70);
  }
  return 0;
}
