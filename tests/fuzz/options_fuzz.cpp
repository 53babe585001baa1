// A YAML file of options, and an earlier run's against which options are compared.
#include <optional>
#include <vector>

#include "fuzz_target.hpp"
#include "hone/core/options/changed_options.hpp"
#include "hone/core/options/option_registry.hpp"

int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const auto text = hone::fuzz::text_of(data, size);
  const auto file = hone::fuzz::folder_with("run.yaml", text) / "run.yaml";
  hone::fuzz::expect_refusal_or_result([&] {
    bool flag = false;
    std::int64_t count = 1;
    double rate = 0.5;
    std::string word;
    std::optional<std::int64_t> limit;
    std::vector<std::string> many;
    std::string choice = "one";
    hone::OptionRegistry registry{"fuzz", "Options of every kind."};
    registry.add_config_option();
    auto group = registry.group("Kinds", "keep.");
    group.add("flag", &flag, "").alias("f");
    group.add("count", &count, "", hone::at_least(1));
    group.add("rate", &rate, "", hone::between(0, 1));
    group.add("word", &word, "");
    group.add("limit", &limit, "");
    group.add("many", &many, "");
    group.add_choice("choice", &choice, "", {"one", "two"});
    registry.parse(std::vector<std::string>{"--config", file.string()});
    registry.dump_yaml();
  });
  return hone::fuzz::expect_refusal_or_result(
      [&] { hone::changed_options("keep:\n  count: 1\n", text); });
}
