// hone against transformers on tiny models: the references are made by make_models.py, see
// README.md.
#include <ATen/TensorOperators.h>
#include <ATen/ops/from_blob.h>
#include <ATen/ops/mm.h>
#include <ATen/ops/tensor.h>
#include <c10/core/GradMode.h>
#include <gtest/gtest.h>

#include <cstdlib>
#include <fstream>
#include <nlohmann/json.hpp>

#include "hone/core/hf/safetensors.hpp"
#include "hone/core/training/loss.hpp"
#include "hone/distributed/loopback_communicator.hpp"
#include "support/trainer_harness.hpp"

namespace hone::testing {
namespace {

namespace fs = std::filesystem;

fs::path reference_folder() {
  const char* folder = std::getenv("HONE_PARITY_REFERENCES");
  return folder == nullptr ? fs::path{} : fs::path{folder};
}

nlohmann::json read_json(const fs::path& path) {
  std::ifstream file{path};
  return nlohmann::json::parse(file);
}

/// Distance relative to the size of what is expected.
double relative_difference(const at::Tensor& got, const at::Tensor& expected) {
  const auto difference = (got - expected).norm().item<double>();
  return difference / std::max(expected.norm().item<double>(), 1e-12);
}

/// Sequences that lie one behind another.
struct Packed {
  TokenInput tokens;
  std::vector<std::int64_t> lengths;
};

class Parity : public ::testing::TestWithParam<std::string> {
 protected:
  void SetUp() override {
    folder_ = reference_folder() / GetParam();
    expect_ = read_json(folder_ / "expect.json");
    // The tensors lie in a file of another name than a model's.
    fs::create_directories(tensors_folder_);
    fs::copy_file(folder_ / "expect.safetensors", tensors_folder_ / "model.safetensors",
                  fs::copy_options::overwrite_existing);
    tensors_ = std::make_unique<SafetensorsFolder>(tensors_folder_);
  }
  void TearDown() override { fs::remove_all(tensors_folder_); }

  at::Tensor expected(const std::string& name) const {
    const auto& entry = tensors_->at(name);
    const auto type = entry.dtype == DType::Int64 ? at::kLong : at::kFloat;
    return at::from_blob(const_cast<std::byte*>(entry.bytes.data()), entry.shape, type).clone();
  }

  Packed packed(const std::string& name) const {
    Packed result;
    std::vector<std::int64_t> positions;
    const auto lengths = expected(name + "_lengths");
    for (std::int64_t i = 0; i < lengths.numel(); ++i) {
      result.lengths.push_back(lengths[i].item<std::int64_t>());
      for (std::int64_t p = 0; p < result.lengths.back(); ++p) positions.push_back(p);
    }
    result.tokens.ids = expected(name + "_ids");
    result.tokens.positions = at::tensor(positions, at::kLong);
    return result;
  }

  /// Of all sequences, or of all targets' positions.
  at::Tensor hidden_states(LanguageModel& model) const {
    if (!model.shape().is_encoder_decoder) {
      const auto input = packed("input");
      SegmentedCausalAttention attention{input.lengths};
      return model.forward(input.tokens, attention);
    }
    const auto source = packed("source");
    const auto target = packed("decoder");
    SegmentedCausalAttention attention{target.lengths,
                                       model.encode(source.tokens, source.lengths)};
    return model.forward(target.tokens, attention);
  }

  Batch batch() const {
    const auto inputs = expect_.contains("sources") ? "sources" : "sequences";
    return {.input_ids = expect_.at(inputs).get<std::vector<TokenIds>>(),
            .labels = expect_.at("labels").get<std::vector<TokenIds>>()};
  }

  TrainerOptions training_options() const {
    const auto& training = expect_.at("training");
    const auto rates = training.at("learning_rates").get<std::vector<double>>();
    const bool decays = rates.front() != rates.back();
    return {.per_device_train_batch_size = 2,
            .updates_per_step = "one",
            .shuffle_dataset = false,
            .learning_rate = rates.front(),
            .lr_scheduler_type = decays ? "linear" : "constant",
            .max_steps = static_cast<std::int64_t>(rates.size()),
            .weight_decay = training.at("weight_decay"),
            .adam_beta1 = training.at("adam_beta1"),
            .adam_beta2 = training.at("adam_beta2"),
            .adam_epsilon = training.at("adam_epsilon"),
            .max_grad_norm = training.at("max_grad_norm")};
  }

  fs::path folder_;
  fs::path tensors_folder_ =
      fs::temp_directory_path() / ("hone_parity_" + std::to_string(::getpid()));
  nlohmann::json expect_;
  std::unique_ptr<SafetensorsFolder> tensors_;
  distributed::LoopbackCommunicator comm_;
};

TEST_P(Parity, LogitsAgree) {
  const c10::NoGradGuard no_grad;
  const auto model = load_model(folder_ / "model");
  ASSERT_EQ(model->shape().is_encoder_decoder, expect_.contains("sources"));
  const auto logits = at::mm(hidden_states(*model), model->output_weight().t());
  EXPECT_LT(relative_difference(logits, expected("logits")), 1e-5);
}

TEST_P(Parity, FirstGradientsAgree) {
  auto options = training_options();
  options.max_grad_norm = 0;  // gradients stay as they were reduced
  TrainerHarness harness{folder_ / "model", comm_, options};
  const auto stats = harness->step(batch());
  EXPECT_NEAR(stats.loss, expect_.at("loss").get<double>(), 1e-5);
  EXPECT_EQ(stats.num_tokens, expect_.at("num_targets").get<std::int64_t>());
  const double norm = expect_.at("grad_norm");
  // The fixture's weights make gradients of norm 66, and both sides round in float32 on the way.
  const double tolerance = GetParam() == "fixture_gpt2" ? 3e-5 : 1e-5;
  EXPECT_NEAR(stats.grad_norm / norm, 1.0, tolerance);
  for (const auto& parameter : harness.model().parameters().all()) {
    const auto reference = expected("grad." + parameter.name);
    if (reference.norm().item<double>() < 1e-6 * norm) continue;
    EXPECT_LT(relative_difference(parameter.value.grad(), reference), tolerance)
        << parameter.name;
  }
}

TEST_P(Parity, TrainingAgrees) {
  TrainerHarness harness{folder_ / "model", comm_, training_options()};
  const auto& training = expect_.at("training");
  const auto losses = training.at("losses").get<std::vector<double>>();
  const auto norms = training.at("grad_norms").get<std::vector<double>>();
  const auto rates = training.at("learning_rates").get<std::vector<double>>();
  // Where a ReLU's input is about zero, rounding decides; in float64 the norms agree within 1e-3
  // here too.
  const double tolerance = GetParam() == "t5_old_files" ? 1e-2 : 1e-3;
  for (std::size_t i = 0; i < losses.size(); ++i) {
    const auto stats = harness->step(batch());
    EXPECT_NEAR(stats.loss / losses[i], 1.0, 1e-4) << "update " << i;
    EXPECT_NEAR(stats.grad_norm / norms[i], 1.0, tolerance) << "update " << i;
    EXPECT_DOUBLE_EQ(stats.learning_rate, rates[i]) << "update " << i;
  }
}

TEST_P(Parity, DecayGroupsAgree) {
  const auto model = load_model(folder_ / "model");
  std::vector<std::string> decayed, undecayed;
  for (const auto& parameter : model->parameters().all()) {
    (parameter.decayed ? decayed : undecayed).push_back(parameter.name);
  }
  std::sort(decayed.begin(), decayed.end());
  std::sort(undecayed.begin(), undecayed.end());
  auto want = expect_.at("decayed_parameters").get<std::vector<std::string>>();
  auto want_not = expect_.at("undecayed_parameters").get<std::vector<std::string>>();
  std::sort(want.begin(), want.end());
  std::sort(want_not.begin(), want_not.end());
  EXPECT_EQ(decayed, want);
  EXPECT_EQ(undecayed, want_not);
}

TEST_P(Parity, GreedyGenerationsAgreeTogetherAndAlone) {
  auto model = load_model(folder_ / "model");
  std::vector<PromptTokens> prompts;
  for (const auto& generation : expect_.at("generations")) {
    prompts.push_back({generation.at("prompt").get<TokenIds>(),
                       static_cast<std::int64_t>(prompts.size())});
  }
  const auto& wanted = expect_.at("generations");
  // Few rows force sequences to wait for places that others leave.
  for (const std::int64_t rows : {1, 3, 64}) {
    const GenerationOptions options{.do_sample = false,
                                    .max_new_tokens = expect_.at("max_new_tokens"),
                                    .batch_size = rows};
    const auto completions = generate(*model, prompts, options, 0, 0);
    ASSERT_EQ(completions.size(), prompts.size());
    for (std::size_t i = 0; i < prompts.size(); ++i) {
      EXPECT_EQ(completions[i].ids, wanted[i].at("new_tokens").get<TokenIds>())
          << "prompt " << i << ", " << rows << " rows";
    }
  }
}

TEST_P(Parity, SavedModelLoadsAsTheSame) {
  // Stays there: check_saved_models.py reads it with transformers.
  const auto folder = folder_ / "saved";
  fs::remove_all(folder);
  auto model = load_model(folder_ / "model");
  save_model(*model, folder_ / "model", folder, {.max_shard_bytes = 20'000});
  auto again = load_model(folder);
  const auto before = model->parameters().groups(), after = again->parameters().groups();
  for (std::size_t i = 0; i < before.size(); ++i) {
    EXPECT_TRUE(before[i].values.equal(after[i].values));
  }
}

std::vector<std::string> case_names() {
  const auto folder = reference_folder();
  if (folder.empty() || !fs::exists(folder / "cases.json")) return {};
  const auto cases = read_json(folder / "cases.json");
  return cases.get<std::vector<std::string>>();
}

INSTANTIATE_TEST_SUITE_P(Transformers, Parity, ::testing::ValuesIn(case_names()),
                         [](const auto& info) { return info.param; });

/// Without references every parity test would silently vanish.
TEST(ParityReferences, AreThere) { EXPECT_GE(case_names().size(), 49U); }

}  // namespace
}  // namespace hone::testing
