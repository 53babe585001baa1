#include <gtest/gtest.h>

#include <sstream>

#include "hone/core/options/option_registry.hpp"

namespace hone {
namespace {

struct SmallCommand {
  std::filesystem::path config;
  std::filesystem::path checkpoint;
  double learning_rate = 2e-5;
  bool shuffle = true;
  std::optional<std::int64_t> num_return_sequences;
  std::vector<double> betas = {0.9, 0.999};
  std::string schedule = "linear";
  OptionRegistry registry{"hone small", "Shows what a help text looks like."};

  SmallCommand() {
    registry.add_config_option();
    registry.group("Input").add("checkpoint", &checkpoint, "Folder.").positional().required();
    auto training = registry.group("Training", "train.");
    training
        .add("learning_rate", &learning_rate,
             "Peak learning rate, which the schedule reaches after warm-up and then leaves again.",
             positive())
        .alias("lr");
    training.add("shuffle", &shuffle, "Shuffle.").required();
    training.add("betas", &betas, "Decay.", from_below(0, 1));
    training.add_choice("schedule", &schedule, "Shape.", {"linear", "cosine"});
    registry.group("Generation", "generate.")
        .add("num_return_sequences", &num_return_sequences, "Samples of a prompt.", at_least(1));
  }
};

TEST(OptionHelp, IsGolden) {
  EXPECT_EQ(SmallCommand{}.registry.help(80), R"(Usage: hone small CHECKPOINT --train.shuffle true|false [--name value
       ...]

Shows what a help text looks like.

Configuration
  --config PATH                   YAML file with options of this command; flags
                                  win over it. (a path)

Input
  --checkpoint PATH               Folder. (a path; required; may stand without
                                  its flag)

Training
  --train.learning_rate X         Peak learning rate, which the schedule reaches
                                  after warm-up and then leaves again. (a number
                                  > 0; default 2.0e-05; also --train.lr)
  --[no_]train.shuffle            Shuffle. (true or false; required)
  --train.betas X...              Decay. (a list of numbers >= 0 and < 1;
                                  default 0.9 0.999)
  --train.schedule linear|cosine  Shape. (one of linear, cosine; default linear)

Generation
  --generate.num_return_sequences N
                                  Samples of a prompt. (a whole number >= 1 or
                                  null; default null)

Help
  --help                          This text.
)");
}

TEST(OptionHelp, KeepsToItsWidth) {
  SmallCommand command;
  for (const std::size_t width : {60u, 80u, 100u, 132u}) {
    std::istringstream lines{command.registry.help(width)};
    for (std::string line; std::getline(lines, line);) EXPECT_LE(line.size(), width) << line;
  }
}

TEST(OptionHelp, SurvivesAbsurdWidths) {
  EXPECT_NE(SmallCommand{}.registry.help(0).find("learning_rate"), std::string::npos);
  EXPECT_NE(SmallCommand{}.registry.help(100000).find("learning_rate"), std::string::npos);
}

}  // namespace
}  // namespace hone
