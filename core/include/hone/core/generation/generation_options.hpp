#pragma once

#include <cstdint>
#include <string>

namespace hone {

class OptionRegistry;

/// How completions are made. The defaults are neutral (plain samples of the policy), unlike those
/// of transformers' generate, which cut to the 50 likeliest tokens.
struct GenerationOptions {
  bool do_sample = true;                 ///< false: the likeliest token each time
  std::int64_t num_return_sequences = 1; ///< completions per prompt; 1 where not sampling
  std::int64_t max_new_tokens = 32;
  double temperature = 1.0;              ///< > 0
  std::int64_t top_k = 0;                ///< keep the k likeliest, ties included; 0: all
  double top_p = 1.0;                    ///< keep the smallest set of at least this probability
  std::int64_t batch_size = 64;          ///< sequences decoded together on a rank

  /// Throws: ConfigError.
  void validate() const;
};

/// Registers every field; `prefix` as in register_trainer_options().
void register_generation_options(OptionRegistry& registry, GenerationOptions& options,
                                 const std::string& prefix = "");

}  // namespace hone
