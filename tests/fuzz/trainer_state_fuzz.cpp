// The trainer's state in a checkpoint's manifest.
#include "fuzz_target.hpp"
#include "training/saved_state.hpp"

int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace hone::detail;
  const std::string text{hone::fuzz::text_of(data, size)};
  return hone::fuzz::expect_refusal_or_result([&] {
    const auto written = to_json(parse_saved_state(text));
    if (to_json(parse_saved_state(written)) != written) std::abort();
  });
}
