#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "core/options_fixture.hpp"

namespace hone {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::StartsWith;
using ::testing::ThrowsMessage;
using testing::BoundOptions;
using testing::Schedule;

TEST(OptionYaml, SetsEveryType) {
  BoundOptions bound;
  const auto notices = bound.registry.load_yaml(R"(
model_name_or_path: models/a b
learning_rate: 2e-5
save_steps: 7
bf16: yes
shuffle_dataset: false
run_name: no
lr_scheduler_type: cosine
dtype: "float32"
betas: [0.8, 0.95]
max_length: 12
generate:
  temperature: 0
  top_p: 1
  stop: ["\n", 'a']
  prefix: "null"
  gather: off
keep: {best_of: 2}
eval.file: e.jsonl
)",
                                                "run.yaml");
  const auto& values = bound.values;
  EXPECT_THAT(notices, IsEmpty());
  EXPECT_EQ(values.model, "models/a b");
  EXPECT_EQ(values.learning_rate, 2e-5);
  EXPECT_EQ(values.save_steps, 7);
  EXPECT_TRUE(values.bf16);
  EXPECT_FALSE(values.shuffle_dataset);
  EXPECT_EQ(values.run_name, "no");
  EXPECT_EQ(values.schedule, Schedule::Cosine);
  EXPECT_EQ(values.dtype, "float32");
  EXPECT_THAT(values.betas, ElementsAre(0.8, 0.95));
  EXPECT_EQ(values.max_length, 12);
  EXPECT_EQ(values.temperature, 0.0);
  EXPECT_EQ(values.top_p, 1.0);
  EXPECT_THAT(values.stop, ElementsAre("\n", "a"));
  EXPECT_EQ(values.prefix, "null");
  EXPECT_EQ(values.gather, false);
  EXPECT_EQ(values.best_of, 2);
  EXPECT_EQ(values.eval_file, "e.jsonl");
}

TEST(OptionYaml, JsonIsYamlToo) {
  BoundOptions bound;
  bound.registry.load_yaml(R"({"save_steps": 3, "generate": {"top_p": null, "stop": []}})", "j");
  EXPECT_EQ(bound.values.save_steps, 3);
  EXPECT_EQ(bound.values.top_p, std::nullopt);
}

TEST(OptionYaml, NothingAtAllIsFine) {
  BoundOptions bound;
  EXPECT_EQ(bound.yaml_error_of(""), "no error");
  EXPECT_EQ(bound.yaml_error_of("# only a comment\n"), "no error");
  EXPECT_EQ(bound.yaml_error_of("generate:\n"), "no error");
}

TEST(OptionYaml, UnknownKeysHaveAPositionAndTheNearestName) {
  BoundOptions bound;
  EXPECT_EQ(bound.yaml_error_of("bf16: true\nlr: 1\n"),
            "run.yaml:2:1: unknown option \"lr\". Did you mean \"learning_rate\"? All options: hone "
            "try --help");
  EXPECT_EQ(bound.yaml_error_of("generate:\n  temprature: 1\n"),
            "run.yaml:2:3: unknown option \"generate.temprature\". Did you mean "
            "\"generate.temperature\"? All options: hone try --help");
  EXPECT_THAT(bound.yaml_error_of("temperature: 1\n"),
              HasSubstr("Did you mean \"generate.temperature\"?"));
}

TEST(OptionYaml, WrongValuesHaveAPosition) {
  BoundOptions bound;
  EXPECT_EQ(bound.yaml_error_of("\n\nsave_steps: 5oo\n"),
            "run.yaml:3:13: save_steps must be a whole number > 0, got \"5oo\"");
  EXPECT_EQ(bound.yaml_error_of("generate: {temperature: -1}\n"),
            "run.yaml:1:25: generate.temperature must be a number >= 0, got \"-1\"");
  EXPECT_THAT(bound.yaml_error_of("save_steps:\n"),
              HasSubstr("save_steps must be a whole number > 0, got nothing"));
  EXPECT_THAT(bound.yaml_error_of("save_steps: [1]\n"), HasSubstr("got a list"));
  EXPECT_THAT(bound.yaml_error_of("save_steps: {a: 1}\n"), HasSubstr("got \"key: value\" pairs"));
  EXPECT_THAT(bound.yaml_error_of("betas: 0.9\n"),
              HasSubstr("must be a list of numbers from 0 to 1, got \"0.9\": write [0.9]"));
  EXPECT_THAT(bound.yaml_error_of("betas: [0.9, [1]]\n"),
              HasSubstr("got a list with something else inside"));
  EXPECT_THAT(bound.yaml_error_of("max_length: ~\n"), "no error");
}

TEST(OptionYaml, SectionsAreMaps) {
  BoundOptions bound;
  EXPECT_EQ(bound.yaml_error_of("generate: 3\n"),
            "run.yaml:1:11: \"generate\" must be written as \"key: value\" pairs");
  EXPECT_EQ(bound.yaml_error_of("- a\n"),
            "run.yaml:1:1: options must be written as \"key: value\" pairs");
  EXPECT_EQ(bound.yaml_error_of("[a]: 1\n"), "run.yaml:1:1: a key must be the name of an option");
}

TEST(OptionYaml, ASectionMayBeTheNameOfOneOfItsSwitches) {
  bool all = false;
  double threshold = 0;
  OptionRegistry registry{"hone run", ""};
  auto keep = registry.group("Keep", "keep.");
  keep.add("all", &all, "Everything.");
  keep.add("threshold", &threshold, "From here on.");
  registry.load_yaml("keep: all", "run.yaml");
  EXPECT_TRUE(all);
  for (const char* text : {"keep: threshold", "keep: none", "keep: [all]"}) {
    EXPECT_THAT([&] { registry.load_yaml(text, "run.yaml"); },
                ThrowsMessage<ConfigError>(
                    HasSubstr("run.yaml:1:7: \"keep\" must be written as \"key: value\" pairs")))
        << text;
  }
}

TEST(OptionYaml, DuplicatesAreRefused) {
  BoundOptions bound;
  EXPECT_EQ(bound.yaml_error_of("save_steps: 1\nbf16: true\nsave_steps: 2\n"),
            "run.yaml:3:1: \"save_steps\" is given twice, first in line 1");
  EXPECT_EQ(bound.yaml_error_of("use_cpu: true\nno_cuda: true\n"),
            "run.yaml:2:1: \"use_cpu\" is given twice, first in line 1");
  EXPECT_EQ(bound.yaml_error_of("keep: {best_of: 1}\nkeep: {best_of: 2}\n"),
            "run.yaml:2:8: \"keep.best_of\" is given twice, first in line 1");
}

TEST(OptionYaml, BrokenTextHasAPosition) {
  BoundOptions bound;
  EXPECT_THAT(bound.yaml_error_of("a: [1\nb: 2\n"), StartsWith("run.yaml:2:"));
  EXPECT_THAT(bound.yaml_error_of("a: [1\nb: 2\n"), HasSubstr("not YAML: "));
  EXPECT_THAT(bound.yaml_error_of("bf16: true\n---\nbf16: false\n"),
              HasSubstr("a second YAML document"));
  EXPECT_THAT(bound.yaml_error_of("a: *nowhere\n"), HasSubstr("not YAML: "));
  EXPECT_THAT(bound.yaml_error_of(std::string(100000, '[')), HasSubstr("not YAML: "));
  EXPECT_THAT(bound.yaml_error_of(",{a: b}\n"), HasSubstr("run.yaml:1:")) << "YAML::LoadAll() never ends here";
}

TEST(OptionYaml, AnAliasWorksAndSaysWhere) {
  BoundOptions bound;
  EXPECT_THAT(bound.registry.load_yaml("no_cuda: true\n", "run.yaml"),
              ElementsAre("run.yaml:1:1: \"no_cuda\" is called \"use_cpu\" here"));
  EXPECT_TRUE(bound.values.use_cpu);
}

TEST(OptionYaml, WhatBelongsOnTheCommandLineIsRefused) {
  BoundOptions bound;
  EXPECT_EQ(bound.yaml_error_of("config: other.yaml\n"),
            "run.yaml:1:1: \"config\" belongs on the command line: --config");
}

TEST(OptionDump, IsNestedAndGolden) {
  BoundOptions bound;
  bound.parse({"--stop", "a\nb", "null", "--learning_rate", "2e-5", "--eval.file", "e"});
  EXPECT_EQ(bound.registry.dump_yaml(), R"(model_name_or_path: ""
output_dir: "out"
learning_rate: 2.0e-05
save_steps: 500
bf16: false
shuffle_dataset: true
use_cpu: false
run_name: "hone"
lr_scheduler_type: "linear"
dtype: "auto"
betas: [0.9, 0.999]
max_length: ~
generate:
  temperature: 1.0
  top_p: ~
  stop: ["a\nb", "null"]
  prefix: ~
  gather: ~
keep:
  best_of: 1
save:
  total_limit: 0
prompts:
  file: ""
eval:
  file: "e"
)");
}

TEST(OptionDump, LoadsBackToTheSameValues) {
  BoundOptions first;
  first.parse({"--learning_rate", "0.1234567890123456789", "--prefix", "~", "--betas=", "--run_name",
               "\x01 \"quoted\" \\ \xc3\xa4 # no: comment", "--no_shuffle_dataset", "--top_p", "1",
               "--gather", "--lr_scheduler_type", "cosine", "--stop", "", "yes"});
  BoundOptions second;
  second.registry.load_yaml(first.registry.dump_yaml(), "dump");
  EXPECT_EQ(second.values.learning_rate, first.values.learning_rate);
  EXPECT_EQ(second.values.prefix, "~");
  EXPECT_THAT(second.values.betas, IsEmpty());
  EXPECT_EQ(second.values.run_name, first.values.run_name);
  EXPECT_FALSE(second.values.shuffle_dataset);
  EXPECT_EQ(second.values.gather, true);
  EXPECT_THAT(second.values.stop, ElementsAre("", "yes"));
  EXPECT_EQ(second.registry.dump_yaml(), first.registry.dump_yaml());
}

}  // namespace
}  // namespace hone
