// config.json, generation_config.json and other files that are one JSON object; also the state text of a
// checkpoint. What is read is copied, compared and printed, as its readers do.
#include "fuzz_target.hpp"
#include "hone/core/data/detail/json_file.hpp"

int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const std::string text{hone::fuzz::text_of(data, size)};
  return hone::fuzz::expect_refusal_or_result([&] {
    const auto json = hone::detail::parse_json_file(text, "config.json");
    const nlohmann::json sorted = json;
    const auto copy = json;
    static volatile bool sink;
    sink = copy == json && sorted.dump(2, ' ', false, nlohmann::json::error_handler_t::replace).empty();
  });
}
