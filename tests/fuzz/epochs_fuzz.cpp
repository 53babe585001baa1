// epochs/000001.json of a run directory.
#include "epochs.hpp"
#include "fuzz_target.hpp"

int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace hone::checkpoints;
  const auto folder =
      hone::fuzz::folder_with("epochs/000001.json", hone::fuzz::text_of(data, size));
  return hone::fuzz::expect_refusal_or_result(
      [&] { detail::read_epoch(real_file_ops(), folder, /*number=*/1); });
}
