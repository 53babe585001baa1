// What a rank tells rank 0 of its file, in the folder of a checkpoint that is being written.
#include "fuzz_target.hpp"
#include "rank_note.hpp"

int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const std::string text{hone::fuzz::text_of(data, size)};
  return hone::fuzz::expect_refusal_or_result(
      [&] { hone::checkpoints::detail::parse_note(text, "rank-00001-of-00002.h5"); });
}
