#include "hone/core/options/changed_options.hpp"

#include <gtest/gtest.h>

namespace hone {
namespace {

std::vector<std::string> shown(std::string_view before, std::string_view after) {
  std::vector<std::string> lines;
  for (const auto& change : changed_options(before, after)) {
    lines.push_back(change.name + ": " + change.before + " -> " + change.after);
  }
  return lines;
}

using Lines = std::vector<std::string>;

TEST(ChangedOptions, NamesWhatDiffersWithItsSection) {
  EXPECT_EQ(shown("seed: 1\ntrain:\n  lr: 0.1\n  decay: 0\nstop: [a, b]\n",
                  "seed: 1\ntrain:\n  lr: 0.2\n  decay: 0\nstop: [a]\n"),
            (Lines{"train.lr: 0.1 -> 0.2", "stop: [a, b] -> [a]"}));
}

TEST(ChangedOptions, NothingIsCalledNull) {
  EXPECT_EQ(shown("a: ~\nb: 1\n", "a: 2\nb: null\n"), (Lines{"a: null -> 2", "b: 1 -> null"}));
}

TEST(ChangedOptions, EqualTextsAndOrderDoNotMatter) {
  EXPECT_EQ(shown("a: 1\nb: x\n", "b: x\na: 1\n"), Lines{});
}

TEST(ChangedOptions, WhatWasNotThereAndWhatCannotBeRead) {
  EXPECT_EQ(shown("a: 1\n", "a: 1\nb: 2\n"), Lines{"b: nothing -> 2"});
  for (const char* damaged : {"", "a: [", "just words"}) {
    EXPECT_EQ(shown(damaged, "a: 1\n"), Lines{"a: nothing -> 1"}) << damaged;
  }
}

/// Found by scripts/fuzz.sh: the first had no end.
TEST(ChangedOptions, AliasesWithoutAnEndCountAsEmpty) {
  EXPECT_EQ(shown("keep: &a\n  count: 2\n  more: *a\n", "seed: 1\n"), Lines{"seed: nothing -> 1"});
  std::string bomb = "l0: &l0 {a: 1, b: 2, c: 3, d: 4, e: 5, f: 6, g: 7, h: 8, i: 9, j: 10}\n";
  for (int i = 1; i < 7; ++i) {
    const auto below = "*l" + std::to_string(i - 1);
    bomb += "l" + std::to_string(i) + ": &l" + std::to_string(i) + " {";
    for (char key = 'a'; key <= 'j'; ++key) bomb += std::string{key} + ": " + below + ", ";
    bomb += "}\n";
  }
  EXPECT_EQ(shown(bomb, "seed: 1\n"), Lines{"seed: nothing -> 1"});
}

TEST(ChangedOptions, AFlagIsAsAShellTakesIt) {
  EXPECT_EQ(as_flag("learning_rate", "5.0e-05"), "--learning_rate 5.0e-05");
  EXPECT_EQ(as_flag("save.steps", "null"), "--save.steps null");
  EXPECT_EQ(as_flag("reward.command", "score me"), "--reward.command 'score me'");
  EXPECT_EQ(as_flag("reward.command", "\"it's: {}\""), "--reward.command 'it'\\''s: {}'");
  EXPECT_EQ(as_flag("output_dir", "\"\""), "--output_dir ''");
  EXPECT_EQ(as_flag("stop", "[a, b]"), "");
  EXPECT_EQ(as_flag("stop", "nothing"), "");
}

}  // namespace
}  // namespace hone
