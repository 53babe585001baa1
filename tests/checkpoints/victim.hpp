#pragma once

#include <sys/wait.h>
#include <unistd.h>

#include <chrono>
#include <csignal>
#include <cstdint>
#include <cstdlib>
#include <filesystem>
#include <sstream>
#include <string>
#include <thread>
#include <vector>

#include <gtest/gtest.h>

namespace hone::testing {

inline constexpr int kRanks = 2;
inline constexpr long kNever = -1;
inline constexpr std::int64_t kFirstStep = 3;
inline constexpr long kNumSaves = 3;  // the third one removes the first

/// What became of a victim: see kill_victim.cpp.
struct Life {
  std::int64_t saved = -1;  ///< the newest step that save() answered for; -1: none
  std::string at;           ///< the kind of call that it ended in; empty: it did not end in one
  int status = 0;           ///< as waitpid() says it

  bool was_killed() const { return WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL; }
  bool exited_with(int code) const { return WIFEXITED(status) && WEXITSTATUS(status) == code; }
};

struct Fault {
  long call = kNever;
  std::string end = "before";
  std::chrono::microseconds after{0};  ///< killed from outside then; 0: not
  std::string lacks{};
};

/// A run of three saves, from kFirstStep or `first_step` on.
inline Life live(const std::filesystem::path& run, std::int64_t first_step, const Fault& fault) {
  std::vector<std::string> words{HONE_KILL_VICTIM, run,
                                 std::to_string(kRanks), std::to_string(first_step),
                                 std::to_string(kNumSaves), std::to_string(fault.call),
                                 fault.end, fault.lacks};
  std::vector<char*> arguments;
  for (auto& word : words) {
    if (!word.empty()) arguments.push_back(word.data());
  }
  arguments.push_back(nullptr);
  int ends[2];
  if (::pipe(ends) != 0) std::abort();
  const pid_t child = ::fork();
  if (child == 0) {
    ::dup2(ends[1], STDOUT_FILENO);
    ::close(ends[0]);
    ::execv(HONE_KILL_VICTIM, arguments.data());
    ::_exit(127);
  }
  ::close(ends[1]);
  if (fault.after.count() > 0) {
    std::this_thread::sleep_for(fault.after);
    ::kill(child, SIGKILL);
  }
  std::string told;
  char buffer[256];
  for (ssize_t count = 0; (count = ::read(ends[0], buffer, sizeof buffer)) > 0;) {
    told.append(buffer, static_cast<std::size_t>(count));
  }
  ::close(ends[0]);
  Life life;
  ::waitpid(child, &life.status, 0);
  std::istringstream lines{told};
  for (std::string word, value; lines >> word >> value;) {
    if (word == "saved") life.saved = std::stoll(value);
    if (word == "at") life.at = value;
  }
  return life;
}

}  // namespace hone::testing
