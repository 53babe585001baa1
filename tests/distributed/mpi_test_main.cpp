// main() of test programs that run under mpirun: every rank runs the same tests. `--ranks=N` is
// what the test was registered for: with another world its expectations would hold for nothing.

#include "distributed/mpi_test_main.hpp"

#include <gtest/gtest.h>
#include <mpi.h>

#include <cstdio>
#include <cstdlib>
#include <string>
#include <string_view>

namespace hone::testing {
namespace {

const distributed::MpiEnvironment* environment = nullptr;

/// Failures of the ranks above 0, whose usual output is off.
class FailurePrinter : public ::testing::EmptyTestEventListener {
 public:
  explicit FailurePrinter(int rank) : rank_(rank) {}

  void OnTestPartResult(const ::testing::TestPartResult& result) override {
    if (!result.failed()) return;
    std::fprintf(stderr, "[rank %d] %s:%d: %s\n", rank_,
                 result.file_name() != nullptr ? result.file_name() : "?", result.line_number(),
                 result.message());
  }

 private:
  int rank_;
};

void quieten_all_but_rank_0(int rank) {
  if (rank == 0) return;
  auto& listeners = ::testing::UnitTest::GetInstance()->listeners();
  delete listeners.Release(listeners.default_result_printer());
  listeners.Append(new FailurePrinter{rank});
}

int expected_ranks(int argc, char** argv) {
  constexpr std::string_view kFlag = "--ranks=";
  for (int i = 1; i < argc; ++i) {
    const std::string_view argument{argv[i]};
    if (argument.starts_with(kFlag)) return std::atoi(argv[i] + kFlag.size());
  }
  return 0;
}

int run_tests(int num_expected) {
  if (environment->size() != num_expected) {
    std::fprintf(stderr, "the world has %d ranks, --ranks asks for %d\n", environment->size(),
                 num_expected);
    return 1;
  }
  quieten_all_but_rank_0(environment->rank());
  int result = RUN_ALL_TESTS();
  if (::testing::UnitTest::GetInstance()->test_to_run_count() == 0) result = 1;
  // The worst rank speaks for all, so that mpirun does not kill ranks that still print.
  MPI_Allreduce(MPI_IN_PLACE, &result, 1, MPI_INT, MPI_MAX, MPI_COMM_WORLD);
  return result;
}

}  // namespace

const distributed::MpiEnvironment& mpi_environment() { return *environment; }

int mpi_test_main(int argc, char** argv) {
  ::testing::InitGoogleTest(&argc, argv);
  const distributed::MpiEnvironment owned;
  environment = &owned;
  return run_tests(expected_ranks(argc, argv));
}

}  // namespace hone::testing

int main(int argc, char** argv) { return hone::testing::mpi_test_main(argc, argv); }
