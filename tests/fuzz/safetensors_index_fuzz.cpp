// model.safetensors.index.json: which file has which tensor.
#include "fuzz_target.hpp"
#include "hone/core/hf/safetensors.hpp"

int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const auto folder =
      hone::fuzz::folder_with("model.safetensors.index.json", hone::fuzz::text_of(data, size));
  return hone::fuzz::expect_refusal_or_result([&] { const hone::SafetensorsFolder weights{folder}; });
}
