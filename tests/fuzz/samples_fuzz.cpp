// samples/round-0001.jsonl, which a run that goes on in the middle of a round reads back.
#include "fuzz_target.hpp"
#include "hone/core/data/line_reader.hpp"
#include "hone/launcher/loop/sample_record.hpp"

int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const hone::Line line{std::string{hone::fuzz::text_of(data, size)}, "samples:1"};
  return hone::fuzz::expect_refusal_or_result([&] { hone::launcher::parse_sample_record(line); });
}
