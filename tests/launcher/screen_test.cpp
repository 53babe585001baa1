#include "hone/launcher/screen.hpp"

#include <gtest/gtest.h>
#include <unistd.h>

#include <sstream>

namespace hone::launcher {
namespace {

constexpr Terminal kWindow{.interactive = true, .columns = 20, .color = true};
constexpr Terminal kFile{};

struct Shown {
  explicit Shown(const Terminal& terminal)
      : screen(std::make_unique<Screen>(terminal, out, err, [this] { return now; })) {}

  void pass(int milliseconds) { now += std::chrono::milliseconds{milliseconds}; }
  /// Output since the last call.
  std::string taken() {
    std::string text = out.str();
    out.str("");
    return text;
  }

  std::ostringstream out, err;
  std::chrono::steady_clock::time_point now{};
  std::unique_ptr<Screen> screen;
};

Fields at_step(int step) { return {{"step", std::to_string(step)}, {"loss", "2.41"}}; }

TEST(Terminal, NeedsAWindowAsWellAsATty) {
  EXPECT_TRUE(is_interactive(true, 80));
  EXPECT_FALSE(is_interactive(true, 0));  // mpirun's pseudo terminal into a file
  EXPECT_FALSE(is_interactive(false, 80));
}

TEST(Terminal, APipeIsNone) {
  int ends[2];
  ASSERT_EQ(pipe(ends), 0);
  const Terminal terminal = inspect_terminal(ends[1], false);
  EXPECT_FALSE(terminal.interactive);
  EXPECT_FALSE(terminal.color);
  EXPECT_EQ(text_width(terminal), 100u);
  close(ends[0]);
  close(ends[1]);
}

TEST(Terminal, TextKeepsWithinReason) {
  EXPECT_EQ(text_width({.interactive = true, .columns = 10}), 60u);
  EXPECT_EQ(text_width({.interactive = true, .columns = 90}), 90u);
  EXPECT_EQ(text_width({.interactive = true, .columns = 900}), 120u);
}

TEST(Progress, IsPlainLinesInAFileWhereDue) {
  Shown shown{kFile};
  shown.screen->progress(at_step(1), false);
  shown.screen->progress(at_step(2), true);
  shown.screen->progress(at_step(3), true);
  EXPECT_EQ(shown.taken(), "step=2 loss=2.41\nstep=3 loss=2.41\n");
}

TEST(Progress, IsOneLineOnATerminalAtMostFiveTimesASecond) {
  Shown shown{kWindow};
  shown.screen->progress(at_step(1), false);
  EXPECT_EQ(shown.taken(), "\rstep 1  loss 2.41\x1b[K");
  shown.pass(199);
  shown.screen->progress(at_step(2), true);
  EXPECT_EQ(shown.taken(), "");
  shown.pass(1);
  shown.screen->progress(at_step(3), false);
  EXPECT_EQ(shown.taken(), "\rstep 3  loss 2.41\x1b[K");
}

TEST(Progress, EndsWithItsNewestState) {
  Shown shown{kWindow};
  shown.screen->progress(at_step(1), false);
  shown.screen->progress(at_step(2), false);
  shown.taken();
  shown.screen.reset();
  EXPECT_EQ(shown.taken(), "\rstep 2  loss 2.41\x1b[K\n");
}

TEST(Progress, MakesRoomForMessages) {
  Shown shown{kWindow};
  shown.screen->progress(at_step(1), false);
  shown.taken();
  shown.screen->print("saved\n");
  EXPECT_EQ(shown.taken(), "\r\x1b[Ksaved\n");
  shown.screen->progress(at_step(2), false);
  EXPECT_EQ(shown.taken(), "\rstep 2  loss 2.41\x1b[K") << "drawn again at once";
  shown.screen->print_error("warning\n");
  EXPECT_EQ(shown.taken(), "\r\x1b[K");
  EXPECT_EQ(shown.err.str(), "warning\n");
}

TEST(Progress, LeavesNothingOpenInAFile) {
  Shown shown{kFile};
  shown.screen->progress(at_step(1), true);
  shown.screen->print("x\n");
  shown.screen.reset();
  EXPECT_EQ(shown.taken(), "step=1 loss=2.41\nx\n");
}

TEST(Screen, MutedOnesStillTellErrors) {
  Shown shown{kWindow};
  shown.screen->mute_output();
  shown.screen->progress(at_step(1), true);
  shown.screen->print("x\n");
  shown.screen->print_error("bad\n");
  EXPECT_EQ(shown.taken(), "");
  EXPECT_EQ(shown.err.str(), "bad\n");
}

TEST(Screen, ABrokenStreamIsNoEnd) {
  Shown shown{kFile};
  shown.out.setstate(std::ios::badbit);
  EXPECT_NO_THROW(shown.screen->print("x\n"));
  EXPECT_NO_THROW(shown.screen->progress(at_step(1), true));
}

TEST(Lines, EscapeWhatModelsSay) {
  EXPECT_EQ(plain_line({{"sample", "a\x1b[2J\nb"}, {"empty", ""}, {"words", "a b"}}),
            "sample=a\\x1b[2J\\nb empty=\"\" words=\"a b\"");
  EXPECT_EQ(terminal_line({{"sample", "\x1b[2J"}}, 40), "sample \\x1b[2J");
}

TEST(Lines, AreCutAtWholeCharacters) {
  EXPECT_EQ(terminal_line({{"a", "\xc3\xa4\xc3\xb6\xc3\xbc"}}, 4), "a \xc3\xa4\xc3\xb6");
  EXPECT_EQ(terminal_line({{"a", "bc"}}, 0), "");
}

}  // namespace
}  // namespace hone::launcher
