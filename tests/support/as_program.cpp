// Linked into tests that run a second time with everything that the program sets up and makes it fast:
// see hone_also_as_program() in cmake/HoneTests.cmake.
#include <gtest/gtest.h>

#include <cstdio>
#include <cstdlib>

#include "hone/distributed/loopback_communicator.hpp"
#include "job/torch_settings.hpp"

namespace hone::testing {
namespace {

class AsProgram final : public ::testing::Environment {
 public:
  void SetUp() override {
    const char* num_threads = std::getenv("HONE_TEST_AS_PROGRAM");
    if (num_threads == nullptr) return;
    launcher::prepare_torch(std::atoi(num_threads));
    distributed::LoopbackCommunicator comm;
    std::printf("as the program: %s threads, products by %s\n", num_threads,
                launcher::choose_matmul_library(comm).c_str());
  }
};

const auto* const kAsProgram = ::testing::AddGlobalTestEnvironment(new AsProgram);

}  // namespace
}  // namespace hone::testing
