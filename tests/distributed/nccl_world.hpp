#pragma once

#include <chrono>
#include <cstdlib>
#include <functional>
#include <string>

#include "distributed/communicator_contract.hpp"
#include "distributed/fake_nccl.hpp"
#include "fakes/fake_nccl/fake_device.hpp"
#include "hone/distributed/nccl_communicator.hpp"
#include "hone/distributed/thread_world.hpp"

namespace hone::testing {

/// FAKENCCL for the life of this object.
class FaultScript {
 public:
  explicit FaultScript(const std::string& text) { setenv("FAKENCCL", text.c_str(), 1); }
  ~FaultScript() { unsetenv("FAKENCCL"); }
  FaultScript(const FaultScript&) = delete;
  FaultScript& operator=(const FaultScript&) = delete;
};

/// An NcclCommunicator over `host`, closed after `body`.
inline void with_nccl(Communicator& host, const std::function<void(Communicator&)>& body) {
  FakeDevice device;
  distributed::NcclCommunicator comm{fake_nccl(), device, host};
  body(comm);
  comm.close();
}

/// The contract suite's world of NCCL ranks over the hosts of `run`.
inline World nccl_world(int num_ranks,
                        const std::function<void(const std::function<void(Communicator&)>&)>& run) {
  return {.backend = "nccl",
          .num_ranks = num_ranks,
          .run = [run](const auto& body) {
            run([&](Communicator& host) { with_nccl(host, body); });
          },
          .orders_nan_and_zeros = false};
}

}  // namespace hone::testing
