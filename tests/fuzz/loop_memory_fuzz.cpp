// What `hone run` keeps in a checkpoint's state.
#include "fuzz_target.hpp"
#include "hone/launcher/loop/loop_memory.hpp"

int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace hone::launcher;
  const std::string text{hone::fuzz::text_of(data, size)};
  return hone::fuzz::expect_refusal_or_result([&] {
    const auto written = to_json(parse_loop_memory(text));
    if (to_json(parse_loop_memory(written)) != written) std::abort();
  });
}
