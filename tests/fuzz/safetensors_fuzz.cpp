// model.safetensors: the crate reads the header; sizes and names are looked at behind it.
#include "fuzz_target.hpp"
#include "hone/core/hf/safetensors.hpp"

int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const auto folder = hone::fuzz::folder_with("model.safetensors", hone::fuzz::text_of(data, size));
  return hone::fuzz::expect_refusal_or_result([&] {
    const hone::SafetensorsFolder weights{folder};
    unsigned sum = 0;
    for (const auto& entry : weights.entries()) {
      for (const auto byte : entry.bytes) sum += static_cast<unsigned>(byte);
    }
    static volatile unsigned sink;  // every byte that an entry claims is read
    sink = sum;
  });
}
