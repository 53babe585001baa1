// tokenizer_config.json, one of the files about special tokens beside a tokenizer.
#include "fuzz_target.hpp"
#include "tokenizer_config.hpp"

int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const auto folder =
      hone::fuzz::folder_with("tokenizer_config.json", hone::fuzz::text_of(data, size));
  return hone::fuzz::expect_refusal_or_result([&] { hone::detail::read_tokenizer_config(folder); });
}
