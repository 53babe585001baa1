// Training rows and prompts.
#include "fuzz_target.hpp"
#include "hone/core/data/jsonl.hpp"

int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const auto file = hone::fuzz::folder_with("rows.jsonl", hone::fuzz::text_of(data, size)) / "rows.jsonl";
  const hone::LineLimits limits{.max_line_bytes = 1 << 16};
  hone::fuzz::expect_refusal_or_result([&] { hone::read_training_rows(file, limits); });
  return hone::fuzz::expect_refusal_or_result([&] { hone::read_prompts(file, limits); });
}
