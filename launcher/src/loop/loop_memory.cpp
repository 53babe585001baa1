#include "hone/launcher/loop/loop_memory.hpp"

#include <algorithm>
#include <cstdint>
#include <nlohmann/json.hpp>
#include <span>

#include "hone/core/data/detail/json_line.hpp"
#include "hone/core/error.hpp"

namespace hone::launcher {
namespace {

using nlohmann::json;
using nlohmann::ordered_json;

constexpr const char* kWhere = "the state of hone run";
/// More than is shown of an answer. A checkpoint's state has room for all that are remembered.
constexpr std::size_t kRememberedBytes = 2000;
/// What ranks tell each other is as long as it is.
constexpr LineLimits kOfRanks{.max_values = SIZE_MAX, .max_members = SIZE_MAX};

std::string dumped(const ordered_json& json) {
  return json.dump(-1, ' ', false, ordered_json::error_handler_t::replace);
}

ordered_json list_of(const std::vector<EvalAnswer>& answers) {
  ordered_json list = ordered_json::array();
  for (const auto& answer : answers) {
    list.push_back({{"index", answer.index},
                    {"prompt", answer.prompt.substr(0, kRememberedBytes)},
                    {"completion", answer.completion.substr(0, kRememberedBytes)},
                    {"reward", answer.reward}});
  }
  return list;
}

void append_answers(const json& list, std::vector<EvalAnswer>& answers) {
  for (const auto& entry : list) {
    answers.push_back({detail::integer_at(entry, "index"), entry.at("prompt"),
                       entry.at("completion"), entry.at("reward")});
  }
}

/// Those of all lists, by index.
std::vector<EvalAnswer> answers_of(std::span<const json> lists) {
  std::vector<EvalAnswer> answers;
  for (const auto& list : lists) append_answers(list, answers);
  std::ranges::sort(answers, {}, &EvalAnswer::index);
  return answers;
}

/// One line per field, so that writing and reading cannot differ.
template <typename Stats, typename Visitor>
void visit_trained(Stats& stats, Visitor&& visit) {
  visit("updates", stats.updates);
  visit("loss", stats.loss);
  visit("grad_norm", stats.grad_norm);
  visit("learning_rate", stats.learning_rate);
  visit("num_samples", stats.num_samples);
  visit("num_tokens", stats.num_tokens);
  visit("target_weight", stats.target_weight);
  visit("input_tokens", stats.input_tokens);
}

void read_number(const json& object, const char* key, std::int64_t& into) {
  into = detail::integer_at(object, key);
}
void read_number(const json& object, const char* key, double& into) { object.at(key).get_to(into); }

/// Throws what the JSON library says of keys and types as an InputError.
template <typename Read>
auto read(Read&& function) {
  try {
    return function();
  } catch (const json::exception& error) {
    throw InputError{std::string{kWhere} + ": " + detail::reason_of(error)};
  }
}

}  // namespace

std::string to_json(const std::vector<EvalAnswer>& answers) { return dumped(list_of(answers)); }

std::vector<EvalAnswer> parse_answers(const std::vector<std::string>& parts) {
  return read([&] {
    std::vector<json> lists;
    for (const auto& part : parts) lists.push_back(detail::parse_json(part, kWhere, kOfRanks));
    return answers_of(lists);
  });
}

std::string to_json(const LoopMemory& memory) {
  ordered_json json{{"before", list_of(memory.before)},
                    {"after", list_of(memory.after)},
                    {"recorded_round", memory.recorded_round},
                    {"sampled_round", memory.sampled_round},
                    {"samples_digest", memory.samples_digest}};
  visit_trained(memory.trained, [&](const char* name, auto value) { json["trained"][name] = value; });
  if (memory.initial_reward) json["initial"] = *memory.initial_reward;
  if (memory.latest_reward) json["latest"] = *memory.latest_reward;
  return dumped(json);
}

LoopMemory parse_loop_memory(const std::string& text) {
  return read([&] {
    const auto json = detail::parse_json(text, kWhere);
    LoopMemory memory;
    memory.before = answers_of({&json.at("before"), 1});
    memory.after = answers_of({&json.at("after"), 1});
    memory.recorded_round = detail::integer_at(json, "recorded_round");
    // Earlier versions do not say which samples they have.
    if (json.contains("sampled_round")) {
      memory.sampled_round = detail::integer_at(json, "sampled_round");
      memory.samples_digest = json.at("samples_digest");
    }
    visit_trained(memory.trained, [&](const char* name, auto& value) {
      read_number(json.at("trained"), name, value);
    });
    if (json.contains("initial")) memory.initial_reward = json.at("initial").get<double>();
    if (json.contains("latest")) memory.latest_reward = json.at("latest").get<double>();
    return memory;
  });
}

}  // namespace hone::launcher
