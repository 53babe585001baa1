// What a model says of its memory, against what a step really allocates.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <fstream>
#include <map>

#include "hone/core/error.hpp"
#include "hone/core/model/language_model.hpp"
#include "hone/distributed/loopback_communicator.hpp"
#include "support/counted_memory.hpp"
#include "support/fixture_model.hpp"
#include "support/trainer_harness.hpp"

namespace hone::testing {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;
using ::testing::Not;

/// A folder that holds nothing but config.json.
class Outline {
 public:
  explicit Outline(const nlohmann::json& config) {
    std::ofstream{folder_.path() / "config.json"} << config;
  }
  std::unique_ptr<LanguageModel> model(at::ScalarType dtype = at::kFloat) const {
    return outline_model(folder_.path(), dtype);
  }

 private:
  TempDir folder_;
};

/// meta-llama/Llama-2-7b-hf.
nlohmann::json llama2_7b() {
  return {{"model_type", "llama"},       {"vocab_size", 32000},        {"hidden_size", 4096},
          {"intermediate_size", 11008},  {"num_hidden_layers", 32},    {"num_attention_heads", 32},
          {"num_key_value_heads", 32},   {"hidden_act", "silu"},       {"rms_norm_eps", 1e-5},
          {"max_position_embeddings", 4096}, {"tie_word_embeddings", false}};
}

TEST(ModelSizes, Llama2HasAsManyParametersAsPublished) {
  const Outline outline{llama2_7b()};
  const auto sizes = sizes_of(*outline.model(), 4096);
  EXPECT_EQ(sizes.num_parameters, 6'738'415'616);
  EXPECT_EQ(sizes.flat_elements, sizes.num_parameters) << "all widths are multiples of 16";
  // 16 bytes a parameter: 107.8 GB, more than any one GPU of 80 GB has.
  const auto plan = plan_memory(sizes, {.sequences = 1, .length = 4096, .update_tokens = 4096});
  EXPECT_EQ(plan.parameters + plan.gradients + plan.optimizer, 16 * 6'738'415'616);
  EXPECT_EQ(sizes.cache_elements, 2 * 32 * 4096);
}

TEST(ModelSizes, ABlockOfLlama2KeepsWhatItsLayersNeed) {
  const Outline outline{llama2_7b()};
  const std::int64_t width = 4096, inner = 11008;
  const auto wide = outline.model()->stacks(4096);
  ASSERT_EQ(wide.size(), 1U);
  // Two norms of two and a scale, queries, keys, values, the output and 32 normalizers; three of
  // the gated layer.
  EXPECT_EQ(wide[0].kept, 4 * (2 * (2 * width + 1) + 4 * width + 32 + 3 * inner));
  EXPECT_EQ(wide[0].kept_of_pair, 0);
  const auto narrow = outline.model(at::kBFloat16)->stacks(4096);
  EXPECT_EQ(narrow[0].kept, 2 * (2 * 2 * width + 4 * width + 3 * inner) + 4 * (2 + 32));
  // On GPUs the gate's SiLU too, and in float32 the keys and values of every query head.
  const auto on_gpu = outline.model()->stacks(64, /*on_gpu=*/true);
  EXPECT_EQ(on_gpu[0].kept, 4 * (2 * (2 * width + 1) + 4 * width + 32 + 4 * inner));
  EXPECT_EQ(on_gpu[0].kept_of_pair, 0);
}

TEST(ModelSizes, KeysThatHeadsShareAreKeptOnceButInFloat32OnGpus) {
  auto config = llama2_7b();
  config["num_key_value_heads"] = 8;
  const Outline outline{config};
  const std::int64_t width = 4096, keys = 1024, inner = 11008;
  const auto kept = [&](at::ScalarType type, bool on_gpu) {
    return outline.model(type)->stacks(64, on_gpu)[0].kept;
  };
  const auto rest = 2 * 2 * width + 4 * inner;  // of two norms, and of the gated layer on a GPU
  EXPECT_EQ(kept(at::kFloat, true), 4 * (rest + 4 * width) + 4 * (2 + 32));
  EXPECT_EQ(kept(at::kBFloat16, true), 2 * (rest + 2 * width + 2 * keys) + 4 * (2 + 32));
  EXPECT_EQ(kept(at::kFloat, false), 4 * (rest - inner + 2 * width + 2 * keys) + 4 * (2 + 32));
  // Heads that no kernel for packed sequences takes: short sequences keep the weights of each head.
  config["head_dim"] = 130;
  const Outline odd{config};
  EXPECT_EQ(odd.model()->stacks(64, true)[0].kept_of_pair, 4 * 32);
  EXPECT_EQ(odd.model()->stacks(4096, true)[0].kept_of_pair, 0) << "the flash kernel";
}

/// What a folder with this config.json alone is refused with.
std::string refused(const std::string& text) {
  TempDir folder;
  folder.write("config.json", text);
  try {
    outline_model(folder.path(), at::kFloat);
  } catch (const InputError& error) {
    return error.what();
  }
  return "not refused";
}

TEST(ModelSizes, AWidthThatHeadsDoNotDivideIsRefused) {
  auto config = llama2_7b();
  config["hidden_size"] = 4100;
  EXPECT_THAT(refused(config.dump()),
              HasSubstr("num_attention_heads 32 does not divide hidden_size 4100"));
  config["head_dim"] = 128;
  EXPECT_EQ(refused(config.dump()), "not refused");
  const nlohmann::json gpt2{{"model_type", "gpt2"}, {"vocab_size", 9}, {"n_embd", 10},
                            {"n_layer", 1},         {"n_head", 4},     {"n_positions", 8}};
  EXPECT_THAT(refused(gpt2.dump()), HasSubstr("n_head 4 does not divide n_embd 10"));
}

TEST(ModelSizes, BrokenJsonHasALineAndAColumn) {
  EXPECT_THAT(refused("{\n  \"model_type\": \"llama\",,\n}"),
              AllOf(HasSubstr("config.json:2:25: not valid JSON: "), HasSubstr("fetch it again"),
                    Not(HasSubstr("json.exception"))));
  EXPECT_THAT(refused("[1]"), HasSubstr("config.json: expected a JSON object"));
  EXPECT_THAT(refused(""), HasSubstr("config.json:1:1: not valid JSON"));
}

TEST(ModelSizes, AnOutlineAsksForNothingButTheConfiguration) {
  const TempDir folder;
  const auto message = [](const std::filesystem::path& path) -> std::string {
    try {
      outline_model(path, at::kFloat);
    } catch (const MissingInputError& error) {
      return error.what();
    }
    return "not refused";
  };
  for (const auto& path : {folder.path(), folder.path() / "no" / "x",
                           std::filesystem::path{"meta-llama/Llama-3.2-1B"}}) {
    EXPECT_THAT(message(path), AllOf(HasSubstr("config.json"), Not(HasSubstr("safetensors"))))
        << path;
  }
  EXPECT_THAT(message("meta-llama/Llama-3.2-1B"),
              HasSubstr("hf download meta-llama/Llama-3.2-1B config.json --local-dir"));
}

/// Wide enough that activations are what counts, and the padding of small tensors is not.
nlohmann::json widened(nlohmann::json config) {
  const auto set = [&](std::initializer_list<const char*> keys, std::int64_t value) {
    for (const char* key : keys) {
      if (config.contains(key)) config[key] = value;
    }
  };
  set({"hidden_size", "n_embd", "d_model"}, 64);
  set({"intermediate_size", "n_inner", "d_ff"}, 192);
  set({"num_hidden_layers", "n_layer", "num_layers", "num_decoder_layers"}, 4);
  set({"max_position_embeddings", "n_positions"}, 512);
  if (config.contains("d_kv")) config["d_kv"] = 16;
  return config;
}

class Planned : public CountedMemory {
 public:
  /// Bytes that one update of `count` sequences of `length` tokens takes on top of what was there
  /// before.
  std::pair<std::int64_t, std::int64_t> measured_and_planned(
      const std::string& name, std::int64_t count, std::int64_t length, bool checkpointing,
      at::ScalarType dtype) {
    const FixtureModel folder{widened(config_named(name)), Fill::Random, /*seed=*/3};
    distributed::LoopbackCommunicator comm;
    TrainerHarness harness{folder.folder(),
                           comm,
                           {.per_device_train_batch_size = count,
                            .gradient_checkpointing = checkpointing,
                            .updates_per_step = "one"},
                           {.dtype = dtype}};
    std::vector<std::vector<std::int64_t>> sequences(static_cast<std::size_t>(count));
    for (auto& sequence : sequences) {
      for (std::int64_t i = 0; i < length; ++i) sequence.push_back(3 + i % 30);
    }
    harness->step({.input_ids = sequences, .labels = sequences});  // masks and caches are made once
    allocator().mark();
    allocator().begin();
    harness->step({.input_ids = sequences, .labels = sequences});
    const auto plan = plan_memory(sizes_of(harness.model(), length),
                                  {.element_bytes = dtype == at::kFloat ? 4 : 2,
                                   .gradient_checkpointing = checkpointing,
                                   .sequences = count,
                                   .length = length});
    return {allocator().risen(), plan.activations};
  }
};

TEST_F(Planned, ActivationsAreWhatAnUpdateAllocates) {
  for (const std::string name : {"llama", "gpt2", "gpt2_dropout", "t5", "t5_dropout"}) {
    for (const auto dtype : {at::kFloat, at::kBFloat16}) {
      for (const std::int64_t length : {64, 256}) {
        for (const bool checkpointing : {false, true}) {
          const auto [measured, planned] =
              measured_and_planned(name, /*count=*/3, length, checkpointing, dtype);
          const double ratio = static_cast<double>(planned) / static_cast<double>(measured);
          EXPECT_NEAR(ratio, 1.0, 0.2) << name << ' ' << c10::toString(dtype) << ", length "
                                       << length << (checkpointing ? ", checkpointing" : "")
                                       << ": measured " << measured << ", planned " << planned;
        }
      }
    }
  }
}

}  // namespace
}  // namespace hone::testing
