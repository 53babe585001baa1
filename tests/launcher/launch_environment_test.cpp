#include "hone/launcher/launch_environment.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <map>

#include "hone/core/error.hpp"

namespace hone::launcher {
namespace {

using ::testing::HasSubstr;

LaunchEnvironment read(const std::map<std::string, std::string>& variables) {
  return LaunchEnvironment::read([&](const char* name) -> std::optional<std::string> {
    const auto found = variables.find(name);
    return found == variables.end() ? std::nullopt : std::optional{found->second};
  });
}

TEST(LaunchEnvironment, ByHandIsOneRank) {
  const auto environment = read({});
  EXPECT_EQ(environment.started_by, StartedBy::Hand);
  EXPECT_EQ(environment.rank, 0);
  EXPECT_EQ(environment.size, 1);
  EXPECT_EQ(environment.omp_num_threads, std::nullopt);
  EXPECT_NO_THROW(require_pmix(environment));
  EXPECT_EQ(lone_process_warning(environment, 1), "");
}

TEST(LaunchEnvironment, KnowsMpirunsRanks) {
  const auto environment = read(
      {{"OMPI_COMM_WORLD_SIZE", "4"}, {"OMPI_COMM_WORLD_RANK", "3"}, {"OMP_NUM_THREADS", "2"}});
  EXPECT_EQ(environment.started_by, StartedBy::Mpirun);
  EXPECT_EQ(environment.rank, 3);
  EXPECT_EQ(environment.size, 4);
  EXPECT_EQ(environment.omp_num_threads, 2);
  EXPECT_NO_THROW(require_pmix(environment));
}

TEST(LaunchEnvironment, KnowsSrunsRanks) {
  const auto environment = read({{"SLURM_STEP_ID", "0"},
                                 {"SLURM_PROCID", "1"},
                                 {"SLURM_NTASKS", "2"},
                                 {"PMIX_RANK", "1"}});
  EXPECT_EQ(environment.started_by, StartedBy::Srun);
  EXPECT_EQ(environment.rank, 1);
  EXPECT_EQ(environment.size, 2);
  EXPECT_NO_THROW(require_pmix(environment));
}

TEST(LaunchEnvironment, SrunWithoutPmixIsToldWhatToType) {
  const auto environment = read({{"SLURM_STEP_ID", "0"}, {"SLURM_NTASKS", "2"}});
  try {
    require_pmix(environment);
    FAIL();
  } catch (const LaunchError& error) {
    EXPECT_THAT(error.what(), HasSubstr("srun --mpi=pmix"));
    EXPECT_EQ(error.exit_code(), ExitCode::Environment);
  }
}

TEST(LaunchEnvironment, MpirunInsideAStepNeedsNoPmixOfSrun) {
  EXPECT_NO_THROW(require_pmix(read({{"SLURM_STEP_ID", "0"}, {"OMPI_COMM_WORLD_SIZE", "2"}})));
}

TEST(LaunchEnvironment, ABatchScriptsRankIsNotThisProcesss) {
  EXPECT_EQ(read({{"SLURM_PROCID", "5"}}).rank, 0);
}

TEST(LaunchEnvironment, AListOfThreadNumbersCountsByItsFirst) {
  EXPECT_EQ(read({{"OMP_NUM_THREADS", "4,2"}}).omp_num_threads, 4);
  EXPECT_EQ(read({{"OMP_NUM_THREADS", "many"}}).omp_num_threads, std::nullopt);
}

TEST(LoneProcess, IsWarnedOfWhereMoreWereMeant) {
  const auto batch = read({{"SLURM_NTASKS", "8"}});
  EXPECT_THAT(lone_process_warning(batch, 1), HasSubstr("8 processes were asked for"));
  EXPECT_EQ(lone_process_warning(batch, 8), "");
  const auto broken = read({{"OMPI_COMM_WORLD_SIZE", "2"}});
  EXPECT_THAT(lone_process_warning(broken, 1), HasSubstr("2 processes were asked for"));
}

TEST(LoneProcess, MayBeChosen) {
  EXPECT_EQ(lone_process_warning(read({{"OMPI_COMM_WORLD_SIZE", "1"}, {"SLURM_NTASKS", "8"}}), 1), "");
}

TEST(NoColor, CountsWhereItIsNotEmpty) {
  EXPECT_TRUE(read({{"NO_COLOR", "1"}}).no_color);
  EXPECT_FALSE(read({{"NO_COLOR", ""}}).no_color);
  EXPECT_FALSE(read({}).no_color);
}

}  // namespace
}  // namespace hone::launcher
