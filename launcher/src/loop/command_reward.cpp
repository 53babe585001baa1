#include "hone/launcher/loop/command_reward.hpp"

#include <string_view>
#include <utility>

#include "hone/core/data/detail/json_line.hpp"
#include "hone/core/error.hpp"
#include "hone/core/printable.hpp"
#include "worker_process.hpp"

namespace hone::launcher {
namespace {

using nlohmann::json;
using Event = WorkerProcess::Event;

constexpr std::size_t kShownStderrLines = 8;
constexpr const char* kExpected = "expected a JSON number or {\"reward\": number}";

std::string shown(const std::vector<std::string>& argv) {
  std::string text;
  for (const auto& each : argv) text += (text.empty() ? "" : ", ") + printable(each, 100);
  return "reward command [" + text + "]";
}

std::string request_line(std::size_t index, const Completion& each) {
  const json line{{"index", index},
                  {"prompt", each.prompt},
                  {"completion", each.completion},
                  {"row", detail::parse_json(each.row->json, each.row->where)}};
  // A model may stop in the middle of a character; the program is sent a replacement for it.
  return line.dump(-1, ' ', false, json::error_handler_t::replace) + "\n";
}

std::string requests(std::span<const Completion> completions) {
  std::string text;
  for (std::size_t i = 0; i < completions.size(); ++i) text += request_line(i, completions[i]);
  return text;
}

/// The last lines of standard error, indented and escaped.
std::string stderr_lines(std::string_view tail) {
  while (tail.ends_with('\n')) tail.remove_suffix(1);
  if (tail.empty()) return "\n  (nothing on its standard error)";
  std::string lines;
  for (std::size_t i = 0; i < kShownStderrLines; ++i) {
    const auto begin = tail.rfind('\n');
    const auto line = begin == std::string_view::npos ? tail : tail.substr(begin + 1);
    lines = "\n  " + printable(line) + lines;
    if (begin == std::string_view::npos) break;
    tail.remove_suffix(tail.size() - begin);
  }
  return "\n  last lines of its standard error:" + lines;
}

std::string item_name(std::size_t index, const Completion& each) {
  return "completion " + std::to_string(index) + " (" + each.row->where + ", k " +
         std::to_string(each.k) + ")";
}

/// The number of one answer, or why it is none.
struct Parsed {
  double reward = 0;
  std::string problem;
};

Parsed parse_answer(const std::string& line, std::size_t index) {
  json value;
  try {
    value = detail::parse_json(line, "answer");
  } catch (const InputError&) {
    return {0, kExpected};  // nan, inf, 0x10, 1,5 and 1e999 are no JSON numbers of ours
  }
  if (value.is_object()) {
    if (value.contains("index") && value["index"] != json(index)) {
      return {0, "expected index " + std::to_string(index) + ": one answer per line, in order"};
    }
    if (!value.contains("reward")) return {0, kExpected};
    value = json(value["reward"]);
  }
  if (!value.is_number()) return {0, kExpected};
  return {value.get<double>(), {}};
}

std::string seconds_text(std::chrono::milliseconds time) {
  char text[32];
  std::snprintf(text, sizeof text, "%g", std::chrono::duration<double>(time).count());
  return text;
}

std::string event_problem(const WorkerProcess& worker, Event event,
                          std::chrono::milliseconds timeout) {
  switch (event) {
    case Event::Ended: return "ended with " + worker.how_it_ended();
    case Event::OutputClosed: return "closed its standard output";
    case Event::InputClosed: return "closed its standard input before it had read all";
    case Event::LineTooLong: return "printed more than 1 MiB without a line end";
    case Event::Line: break;
    case Event::TimedOut:
      return "was silent until its timeout of " + seconds_text(timeout) +
             " s for all answers (it must answer each line as it reads it, and flush)";
  }
  return "answered";
}

}  // namespace

CommandReward::CommandReward(std::vector<std::string> argv, std::chrono::milliseconds timeout)
    : argv_(std::move(argv)), timeout_(timeout) {
  if (argv_.empty()) throw ConfigError("reward.command is empty");
  if (timeout_.count() < 1) {
    throw ConfigError("reward.timeout must be more than 0 seconds, got " +
                      std::to_string(timeout_.count()) + " ms");
  }
  find_program(argv_.front());
}

CommandReward::~CommandReward() = default;

void CommandReward::start() {
  worker_.reset();
  worker_ = std::make_unique<WorkerProcess>(argv_);
  has_answered_ = false;
}

void CommandReward::require_ready() {
  if (!worker_ || !worker_->has_ended()) return;
  fail("ended with " + worker_->how_it_ended() + " before it was asked anything");
}

std::vector<double> CommandReward::score(std::span<const Completion> completions) {
  if (completions.empty()) return {};
  try {
    if (!worker_ || worker_->has_ended()) start();
    auto rewards = answers(completions);
    if (!rewards) {
      start();
      rewards = answers(completions);
    }
    has_answered_ = true;
    return std::move(*rewards);
  } catch (...) {
    if (worker_) worker_->kill();
    worker_.reset();
    throw;
  }
}

void CommandReward::fail(const std::string& problem) {
  throw InputError(shown(argv_) + " " + problem + stderr_lines(worker_->stderr_tail()));
}

void CommandReward::require_nothing_more() {
  const std::string more = worker_->unread_output();
  if (more.empty()) return;
  fail("printed more than one line per completion: \"" + printable(more, 80) + "\"");
}

std::optional<std::vector<double>> CommandReward::answers(std::span<const Completion> completions) {
  if (has_answered_) require_nothing_more();
  const std::string text = requests(completions);
  std::string_view input = text;
  const auto deadline = WorkerProcess::Clock::now() + timeout_;
  std::vector<double> rewards;
  while (rewards.size() < completions.size()) {
    const std::size_t index = rewards.size();
    const auto answer = worker_->next_line(input, deadline);
    const std::string item = item_name(index, completions[index]);
    if (answer.event == Event::Ended && index == 0 && has_answered_) return std::nullopt;
    if (answer.event != Event::Line) {
      fail(event_problem(*worker_, answer.event, timeout_) + ", with " + std::to_string(index) +
           " of " + std::to_string(completions.size()) + " answered; the next was " + item);
    }
    const Parsed parsed = parse_answer(answer.line, index);
    if (!parsed.problem.empty()) {
      fail("answered " + item + " with \"" + printable(answer.line, 80) + "\"; " + parsed.problem);
    }
    rewards.push_back(parsed.reward);
  }
  require_nothing_more();
  return rewards;
}

}  // namespace hone::launcher
