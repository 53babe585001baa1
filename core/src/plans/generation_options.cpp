#include "hone/core/generation/generation_options.hpp"

#include "hone/core/error.hpp"
#include "hone/core/options/option_registry.hpp"

namespace hone {

void GenerationOptions::validate() const {
  const auto require = [](bool holds, const char* message) {
    if (!holds) throw ConfigError{message};
  };
  require(num_return_sequences > 0, "num_return_sequences must be > 0");
  require(do_sample || num_return_sequences == 1,
          "num_return_sequences must be 1 without do_sample: greedy completions are all the same");
  require(max_new_tokens > 0, "max_new_tokens must be > 0");
  require(temperature > 0,
          "temperature must be > 0; for the likeliest token each time set do_sample false");
  require(top_k >= 0, "top_k must be >= 0 (0: all tokens)");
  require(top_p > 0 && top_p <= 1, "top_p must be above 0 and at most 1");
  require(batch_size > 0, "batch_size must be > 0");
}

void register_generation_options(OptionRegistry& registry, GenerationOptions& options,
                                 const std::string& prefix) {
  auto group = registry.group("Generation", prefix);
  group.add("do_sample", &options.do_sample, "Sample; false: the likeliest token each time.");
  group.add("num_return_sequences", &options.num_return_sequences, "Completions per prompt.",
            at_least(1));
  group.add("max_new_tokens", &options.max_new_tokens, "Tokens a completion may have.",
            at_least(1));
  group.add("temperature", &options.temperature, "Divides the logits before sampling.",
            positive());
  group.add("top_k", &options.top_k, "Sample among the k likeliest tokens; 0: all.",
            non_negative());
  group.add("top_p", &options.top_p,
            "Sample among the fewest tokens that have this probability together.",
            above_up_to(0, 1));
  group.add("batch_size", &options.batch_size, "Sequences decoded together on a rank.",
            at_least(1));
}

}  // namespace hone
