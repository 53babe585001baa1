#pragma once

#include <cstdint>
#include <filesystem>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "fakes/temp_dir.hpp"

namespace hone::testing {

/// How a fixture's parameters get their values, all as float32 and none at its neutral value.
enum class Fill {
  Wave,    ///< parameter k in the order of the names, element j: 0.1 sin(0.37 j + 1.3 k); norms + 1
  Random,  ///< uniform in [-0.3, 0.3), keyed by a seed; norms + 1
};

/// config.json of the fixture models: 37 words, width 16, 2 layers, 64 positions, pad 0, bos 1,
/// eos 2.
nlohmann::json llama_config();   ///< untied, 4 query and 2 key heads, theta 10000
nlohmann::json llama3_config();  ///< tied, theta 500000 with Llama 3's frequency scaling
nlohmann::json gpt2_config();    ///< tied, inner width 64, no dropout
nlohmann::json t5_config();      ///< 2 + 2 layers, relu, tied, no dropout; eos 1, start 0
nlohmann::json t5_gated_config();  ///< the same as T5 v1.1 and Flan-T5 have it: gated-gelu, untied

/// By name: llama (Llama 3), gpt2, t5, and gpt2_dropout, t5_dropout with dropout of 0.1.
nlohmann::json config_named(const std::string& name);

/// A Hugging Face folder with config.json and model.safetensors that goes at scope end.
class FixtureModel {
 public:
  explicit FixtureModel(const nlohmann::json& config, Fill fill = Fill::Wave,
                        std::uint64_t seed = 0);
  const std::filesystem::path& folder() const { return folder_.path(); }

 private:
  TempDir folder_;
};

/// The four sequences that golden numbers are known for: 8, 6, 3 and 9 tokens from bos to eos.
std::vector<std::vector<std::int64_t>> fixture_sequences();

/// `count` sequences over the fixtures' words whose lengths run from 2 to `longest` tokens, the
/// shortest and the longest among them.
std::vector<std::vector<std::int64_t>> ragged_sequences(std::int64_t count, std::int64_t longest,
                                                        std::uint64_t seed);

}  // namespace hone::testing
