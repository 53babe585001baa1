// epochs/000001.json of a run directory.
#include "fuzz_target.hpp"
#include "lineage.hpp"

int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace hone::checkpoints;
  const auto folder =
      hone::fuzz::folder_with("epochs/000001.json", hone::fuzz::text_of(data, size));
  return hone::fuzz::expect_refusal_or_result(
      [&] { detail::trace_checkpoints(real_file_ops(), folder); });
}
