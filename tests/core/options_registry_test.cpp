#include "hone/core/options/option_registry.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <fstream>

#include "core/options_fixture.hpp"

namespace hone {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using testing::BoundOptions;
using testing::Schedule;

TEST(OptionFlags, SetEveryType) {
  BoundOptions bound;
  bound.parse({"--model_name_or_path", "my model", "--learning_rate", "2e-5", "--save_steps", "+7",
               "--bf16", "--run_name", "a b", "--lr_scheduler_type", "cosine", "--dtype", "float32",
               "--betas", "0.8", "0.95", "--max_length", "128", "--generate.top_p", "0.5",
               "--generate.stop", "x", "y z", "--generate.prefix", "P", "--generate.gather", "no"});
  const auto& values = bound.values;
  EXPECT_EQ(values.model, "my model");
  EXPECT_EQ(values.learning_rate, 2e-5);
  EXPECT_EQ(values.save_steps, 7);
  EXPECT_TRUE(values.bf16);
  EXPECT_EQ(values.run_name, "a b");
  EXPECT_EQ(values.schedule, Schedule::Cosine);
  EXPECT_EQ(values.dtype, "float32");
  EXPECT_THAT(values.betas, ElementsAre(0.8, 0.95));
  EXPECT_EQ(values.max_length, 128);
  EXPECT_EQ(values.top_p, 0.5);
  EXPECT_THAT(values.stop, ElementsAre("x", "y z"));
  EXPECT_EQ(values.prefix, "P");
  EXPECT_EQ(values.gather, false);
}

TEST(OptionFlags, TakeDashesEqualsSignsAndNegations) {
  BoundOptions bound;
  bound.parse({"--learning-rate=1e-3", "--no_shuffle_dataset", "--bf16=true", "--run-name=a=b",
               "--betas=", "--use_cpu", "false"});
  EXPECT_EQ(bound.values.learning_rate, 1e-3);
  EXPECT_FALSE(bound.values.shuffle_dataset);
  EXPECT_TRUE(bound.values.bf16);
  EXPECT_EQ(bound.values.run_name, "a=b");
  EXPECT_THAT(bound.values.betas, IsEmpty());
  EXPECT_FALSE(bound.values.use_cpu);
}

TEST(OptionFlags, NegationTakesDashesToo) {
  BoundOptions bound;
  bound.parse({"--no-shuffle-dataset"});
  EXPECT_FALSE(bound.values.shuffle_dataset);
}

TEST(OptionFlags, ANegativeNumberIsAValue) {
  BoundOptions bound;
  EXPECT_EQ(bound.error_of({"--save_steps", "-3"}),
            "--save_steps must be a whole number > 0, got \"-3\"");
}

TEST(OptionFlags, TheLastOneWins) {
  BoundOptions bound;
  bound.parse({"--save_steps", "1", "--save_steps", "2"});
  EXPECT_EQ(bound.values.save_steps, 2);
}

TEST(OptionFlags, NullEmptiesWhatMayBeEmpty) {
  BoundOptions bound;
  bound.parse({"--max_length", "5"});
  bound.parse({"--max_length", "null"});
  EXPECT_EQ(bound.values.max_length, std::nullopt);
  EXPECT_EQ(bound.error_of({"--save_steps", "null"}),
            "--save_steps must be a whole number > 0, got \"null\"");
}

TEST(OptionFlags, NestedOnesGoByTheirLastPartWhereItIsUnique) {
  BoundOptions bound;
  bound.parse({"--temperature", "0.7", "--best-of", "3"});
  EXPECT_EQ(bound.values.temperature, 0.7);
  EXPECT_EQ(bound.values.best_of, 3);
  EXPECT_EQ(bound.error_of({"--file", "x"}),
            "option \"--file\" could be any of --eval.file, --prompts.file. Write one of these in "
            "full");
}

TEST(OptionFlags, WrongValuesNameTheFlagAndWhatItTakes) {
  BoundOptions bound;
  EXPECT_EQ(bound.error_of({"--save_steps", "5oo"}),
            "--save_steps must be a whole number > 0, got \"5oo\"");
  EXPECT_EQ(bound.error_of({"--save_steps", "1.5"}),
            "--save_steps must be a whole number > 0, got \"1.5\"");
  EXPECT_EQ(bound.error_of({"--save_steps", "99999999999999999999"}),
            "--save_steps must be a whole number > 0, got \"99999999999999999999\"");
  EXPECT_EQ(bound.error_of({"--learning_rate", "0"}),
            "--learning_rate must be a number > 0, got \"0\"");
  EXPECT_EQ(bound.error_of({"--learning_rate", "nan"}),
            "--learning_rate must be a number > 0, got \"nan\"");
  EXPECT_EQ(bound.error_of({"--learning_rate", "inf"}),
            "--learning_rate must be a number > 0, got \"inf\"");
  EXPECT_EQ(bound.error_of({"--learning_rate", "+-1"}),
            "--learning_rate must be a number > 0, got \"+-1\"");
  EXPECT_EQ(bound.error_of({"--betas", "0.9", "1.5"}),
            "--betas must be a list of numbers from 0 to 1, got \"0.9\" \"1.5\"");
  EXPECT_EQ(bound.error_of({"--top_p", "0"}),
            "--top_p must be a number > 0 and <= 1 or null, got \"0\"");
  EXPECT_EQ(bound.error_of({"--bf16", "maybe"}), "--bf16 must be true or false, got \"maybe\"");
  EXPECT_EQ(bound.error_of({"--lr_scheduler_type", "Linear"}),
            "--lr_scheduler_type must be one of linear, cosine, got \"Linear\"");
  EXPECT_EQ(bound.error_of({"--run_name"}), "--run_name needs a value: text");
  EXPECT_EQ(bound.error_of({"--betas", "--bf16"}),
            "--betas needs a value: a list of numbers from 0 to 1");
  EXPECT_EQ(bound.error_of({"--no_bf16=true"}), "--no_bf16 takes no value, got \"true\"");
}

TEST(OptionFlags, AWrongValueLeavesTheVariableAlone) {
  BoundOptions bound;
  bound.error_of({"--betas", "0.5", "x", "--save_steps", "-1"});
  EXPECT_THAT(bound.values.betas, ElementsAre(0.9, 0.999));
  EXPECT_EQ(bound.values.save_steps, 500);
}

TEST(OptionFlags, UnknownOnesNameTheNearest) {
  BoundOptions bound;
  EXPECT_EQ(bound.error_of({"--lr", "1e-5"}),
            "unknown option \"--lr\". Did you mean \"--learning_rate\"? All options: hone try "
            "--help");
  EXPECT_EQ(bound.error_of({"--zzzzzz"}), "unknown option \"--zzzzzz\". All options: hone try --help");
  EXPECT_EQ(bound.error_of({"--no_run_name"}),
            "unknown option \"--no_run_name\". Did you mean \"--run_name\"? All options: hone try "
            "--help");
  EXPECT_EQ(bound.error_of({"stray"}),
            "unexpected argument \"stray\". Options begin with two dashes: --name value");
}

TEST(OptionFlags, AYamlFileWithoutItsFlagIsRecognized) {
  BoundOptions bound;
  for (const std::string file : {"t.yaml", "runs/t.yml"}) {
    EXPECT_THAT(bound.error_of({file}), HasSubstr("given as --config " + file));
  }
  bool json = false;
  std::string model;
  OptionRegistry without{"hone show", ""}, with{"hone plan", ""};
  without.group("Input").add("model", &model, "").positional();
  without.parse(std::vector<std::string>{"t.yaml"});  // it has no --config: a name like any other
  EXPECT_EQ(model, "t.yaml");
  with.add_config_option();
  with.group("Input").add("model", &model, "").positional();
  with.group("Output").add("json", &json, "");
  EXPECT_THAT([&] { with.parse(std::vector<std::string>{"t.yaml", "--json"}); },
              ::testing::ThrowsMessage<ConfigError>(HasSubstr("--config t.yaml")));
}

TEST(OptionFlags, NamesOfOtherCommandsAreAnsweredWithAdvice) {
  BoundOptions bound;
  bound.registry.advise("tf32", "It is --dtype float32 here");
  for (const std::string flag : {"--tf32", "--tf32=true"}) {
    EXPECT_EQ(bound.error_of({flag}),
              "unknown option \"--tf32\". It is --dtype float32 here. All options: hone try "
              "--help");
  }
  EXPECT_THAT(bound.yaml_error_of("tf32: true\n"), HasSubstr("It is --dtype float32 here"));
}

TEST(OptionFlags, ACommaSeparatedListIsOneWord) {
  std::vector<std::int64_t> ranks{1};
  std::string model;
  OptionRegistry registry{"hone try", ""};
  registry.group("All").add("ranks", &ranks, "Ranks.", at_least(1)).comma_separated();
  registry.group("All").add("model", &model, "Model.").positional();
  registry.parse(std::vector<std::string>{"--ranks", "2,8, 64", "my_model"});
  EXPECT_THAT(ranks, ElementsAre(2, 8, 64));
  EXPECT_EQ(model, "my_model");
  registry.load_yaml("ranks: [2, 4]", "a.yaml");
  EXPECT_THAT(ranks, ElementsAre(2, 4));
  registry.load_yaml("ranks: 3,5", "a.yaml");
  EXPECT_THAT(ranks, ElementsAre(3, 5));
  registry.load_yaml("ranks: 7", "a.yaml");
  EXPECT_THAT(ranks, ElementsAre(7));
  for (const std::string wrong : {"2,,4", ",2", "2,", "0,2", "2;4", ""}) {
    EXPECT_THAT([&] { registry.parse(std::vector<std::string>{"--ranks", wrong}); },
                ::testing::ThrowsMessage<ConfigError>(
                    HasSubstr("a list of whole numbers >= 1 with commas between")))
        << wrong;
  }
  EXPECT_THAT(ranks, ElementsAre(7));
}

TEST(OptionFlags, AllMistakesAreToldAtOnce) {
  BoundOptions bound;
  const std::string message = bound.error_of({"--lr", "1", "--save_steps", "x"});
  EXPECT_THAT(message, HasSubstr("unknown option \"--lr\""));
  EXPECT_THAT(message, HasSubstr("\n--save_steps must be"));
}

TEST(OptionFlags, ControlCharactersDoNotReachTheTerminal) {
  BoundOptions bound;
  EXPECT_EQ(bound.error_of({"--save_steps", "\x1b[2J\n"}),
            "--save_steps must be a whole number > 0, got \"\\x1b[2J\\n\"");
}

TEST(OptionFlags, AnAliasWorksAndSaysSo) {
  BoundOptions bound;
  const auto parsed = bound.parse({"--no_cuda"});
  EXPECT_TRUE(bound.values.use_cpu);
  EXPECT_THAT(parsed.notices, ElementsAre("--no_cuda: \"no_cuda\" is called \"use_cpu\" here"));
}

TEST(OptionFlags, HelpWinsOverEverything) {
  BoundOptions bound;
  EXPECT_TRUE(bound.parse({"--nonsense", "--help"}).help);
  EXPECT_TRUE(bound.parse({"-h"}).help);
  EXPECT_EQ(bound.values.save_steps, 500);
}

struct CheckpointOptions {
  std::filesystem::path checkpoint;
  std::filesystem::path output;
  bool verify = false;
  OptionRegistry registry{"hone export", "Exports."};

  CheckpointOptions() {
    auto group = registry.group("Input");
    group.add("checkpoint", &checkpoint, "From.").positional().required();
    group.add("output", &output, "To.").positional();
    group.add("verify", &verify, "Digests too.");
  }
};

TEST(OptionPositionals, FillInOrderBesideFlags) {
  CheckpointOptions options;
  options.registry.parse(std::vector<std::string>{"--verify", "a", "b"});
  EXPECT_TRUE(options.verify);
  EXPECT_EQ(options.checkpoint, "a");
  EXPECT_EQ(options.output, "b");
}

TEST(OptionPositionals, ASwitchTakesTheWordBehindItOnlyWhereItIsATruth) {
  CheckpointOptions options;
  options.registry.parse(std::vector<std::string>{"--verify", "false", "a"});
  EXPECT_FALSE(options.verify);
  EXPECT_EQ(options.checkpoint, "a");
}

TEST(OptionPositionals, MayBeGivenByNameOrBehindTwoDashes) {
  CheckpointOptions options;
  options.registry.parse(std::vector<std::string>{"--output", "o", "--", "--odd"});
  EXPECT_EQ(options.checkpoint, "--odd");
  EXPECT_EQ(options.output, "o");
}

TEST(OptionPositionals, RequiredOnesAreMissed) {
  CheckpointOptions options;
  try {
    options.registry.parse(std::vector<std::string>{"--verify"});
    FAIL();
  } catch (const ConfigError& error) {
    EXPECT_STREQ(error.what(), "checkpoint is required: give --checkpoint PATH");
  }
}

class ConfigFile : public ::testing::Test {
 protected:
  void SetUp() override {
    path_ = std::filesystem::path{::testing::TempDir()} /
            (std::string{::testing::UnitTest::GetInstance()->current_test_info()->name()} + ".yaml");
  }
  void TearDown() override { std::filesystem::remove(path_); }
  void write(const std::string& text) { std::ofstream{path_} << text; }

  std::filesystem::path path_;
};

TEST_F(ConfigFile, IsBelowFlagsAndAboveDefaults) {
  write("save_steps: 10\nlearning_rate: 2e-5\n");
  BoundOptions bound;
  bound.parse({"--save_steps", "20", "--config", path_.string()});
  EXPECT_EQ(bound.values.save_steps, 20);
  EXPECT_EQ(bound.values.learning_rate, 2e-5);
  EXPECT_EQ(bound.values.run_name, "hone");
  EXPECT_EQ(bound.registry.source_of("save_steps"), OptionSource::Flag);
  EXPECT_EQ(bound.registry.source_of("learning_rate"), OptionSource::Yaml);
  EXPECT_EQ(bound.registry.source_of("run_name"), OptionSource::Default);
  EXPECT_EQ(bound.registry.config_path(), path_);
}

TEST_F(ConfigFile, SatisfiesRequiredOptions) {
  write("name: x\n");
  std::string name;
  OptionRegistry registry{"hone try", "Tries."};
  registry.add_config_option(true);
  registry.group("All").add("name", &name, "Name.").required();
  registry.parse(std::vector<std::string>{path_.string()});
  EXPECT_EQ(name, "x");

  OptionRegistry again{"hone try", "Tries."};
  again.add_config_option(true);
  again.group("All").add("name", &name, "Name.").required();
  try {
    again.parse({});
    FAIL();
  } catch (const ConfigError& error) {
    EXPECT_STREQ(error.what(),
                 "name is required: give --name TEXT, or write it into the YAML file");
  }
}

TEST_F(ConfigFile, MistakesInItAndInFlagsAreToldTogether) {
  write("save_steps: 5oo\n");
  BoundOptions bound;
  const std::string message = bound.error_of({"--config", path_.string(), "--lr", "1"});
  EXPECT_THAT(message, HasSubstr(path_.string() + ":1:13: save_steps must be"));
  EXPECT_THAT(message, HasSubstr("unknown option \"--lr\""));
}

TEST_F(ConfigFile, ThatIsMissingOrAFolderIsNamed) {
  BoundOptions bound;
  try {
    bound.parse({"--config", "nosuch.yaml"});
    FAIL();
  } catch (const MissingInputError& error) {
    EXPECT_STREQ(error.what(), "config \"nosuch.yaml\": no such file");
  }
  EXPECT_EQ(bound.error_of({"--config", "/"}),
            "config \"/\" cannot be read: a YAML file is expected");
}

}  // namespace
}  // namespace hone
