#include <gtest/gtest.h>
#include <sys/wait.h>

#include <cstdlib>
#include <string>

namespace {

/// The exit code of a job of two ranks of mpi_exit_program; -1 where a signal ended it. A job that
/// hangs ends with timeout's 124.
int exit_code_of_job(const std::string& mode) {
  const std::string command = std::string{"timeout 60 "} + HONE_MPIEXEC +
                              " -q --oversubscribe --bind-to none -np 2 " + HONE_EXIT_PROGRAM + " " +
                              mode + " >/dev/null 2>&1";
  const int status = std::system(command.c_str());
  return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

TEST(MpiExit, AbortOfOneRankIsTheExitCodeOfTheJob) { EXPECT_EQ(exit_code_of_job("abort"), 75); }

TEST(MpiExit, AnExceptionOnOneRankEndsTheJobInsteadOfFinalizing) {
  EXPECT_EQ(exit_code_of_job("throw"), 70);
}

TEST(MpiExit, ACodeThatAllRanksReturnSurvives) { EXPECT_EQ(exit_code_of_job("return"), 75); }

TEST(MpiExit, FinalizeMayBeCalledEarlyAndTwice) { EXPECT_EQ(exit_code_of_job("finalize"), 0); }

}  // namespace
