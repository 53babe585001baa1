// What peers say over the control channel: heartbeats, and the end of a job.
#include "control/end_of_job.hpp"
#include "fuzz_target.hpp"
#include "hone/distributed/pulse.hpp"

int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const auto bytes = hone::fuzz::text_of(data, size);
  hone::fuzz::expect_refusal_or_result([&] {
    // What is read can be said, and is the same when it is heard again.
    const auto said = hone::distributed::to_bytes(hone::distributed::pulse_of(bytes));
    if (hone::distributed::to_bytes(hone::distributed::pulse_of(said)) != said) std::abort();
  });
  return hone::fuzz::expect_refusal_or_result([&] {
    const auto end = hone::launcher::control::end_of_job(bytes);
    hone::launcher::control::to_bytes(end);
  });
}
