// metrics.jsonl of a run that goes on.
#include "fuzz_target.hpp"
#include "hone/core/logger.hpp"
#include "hone/launcher/loop/metrics_log.hpp"

int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  hone::NullLogger log;
  const auto folder = hone::fuzz::folder_with("metrics.jsonl", hone::fuzz::text_of(data, size));
  return hone::fuzz::expect_refusal_or_result([&] {
    hone::launcher::MetricsLog{folder / "metrics.jsonl", log}.discard_after(/*step=*/5, /*round=*/2);
  });
}
