#include "hone/core/data/jsonl.hpp"

#include <array>
#include <limits>
#include <string_view>
#include <utility>

#include "hone/core/data/detail/json_line.hpp"
#include "hone/core/error.hpp"
#include "hone/core/printable.hpp"

namespace hone {
namespace {

using nlohmann::json;

constexpr std::int64_t kIgnoredLabel = -100;
constexpr const char* kTrainingForms =
    "{text}, {prompt, completion}, {messages} or {input_ids, attention_mask?, labels?}";

enum class Form { Text, Completion, Messages, Tokens };

constexpr std::array<std::pair<Form, const char*>, 4> kForms{
    {{Form::Text, "{text}"},
     {Form::Completion, "{prompt, completion}"},
     {Form::Messages, "{messages}"},
     {Form::Tokens, "{input_ids}"}}};

const char* keys_of(Form form) { return kForms[static_cast<std::size_t>(form)].second; }

bool has_form(const json& row, Form form) {
  switch (form) {
    case Form::Text: return row.contains("text");
    case Form::Completion: return row.contains("prompt") && row.contains("completion");
    case Form::Messages: return row.contains("messages");
    case Form::Tokens: return row.contains("input_ids");
  }
  return false;
}

/// A row and where it stands: what every check below needs to complain.
struct Place {
  const json& row;
  const std::string& where;

  [[noreturn]] void fail(const std::string& message) const {
    throw InputError(where + ": " + message);
  }
};

Form form_of_first_row(const Place& place) {
  std::optional<Form> found;
  for (const auto& [form, keys] : kForms) {
    if (!has_form(place.row, form)) continue;
    if (found) {
      place.fail(std::string{"holds both "} + keys_of(*found) + " and " + keys +
                 "; a row has one form");
    }
    found = form;
  }
  if (found) return *found;
  place.fail(std::string{"expected keys "} + kTrainingForms + ", found " +
             detail::key_list(place.row));
}

std::string string_at(const Place& place, const json& value, const std::string& name) {
  if (!value.is_string()) {
    place.fail(name + " must be a string, found " + printable(value.dump(), 60));
  }
  return value.get<std::string>();
}

ChatMessage message_at(const Place& place, const json& value, const std::string& name) {
  if (!value.is_object() || !value.contains("role") || !value.contains("content")) {
    place.fail(name + " must be {role, content}, found " +
               (value.is_object() ? detail::key_list(value) : printable(value.dump(), 60)));
  }
  for (const auto& [key, extra] : value.items()) {
    // Dropping a tool call or an image in silence would train on half a conversation.
    if (key != "role" && key != "content" && !extra.is_null()) {
      place.fail(name + " has the key \"" + printable(key, 40) +
                 "\"; only role and content are understood");
    }
  }
  ChatMessage message{string_at(place, value["role"], name + ".role"),
                      string_at(place, value["content"], name + ".content")};
  if (message.role.empty()) place.fail(name + ".role is empty");
  return message;
}

std::vector<ChatMessage> messages_at(const Place& place, const json& value,
                                     const std::string& name) {
  if (!value.is_array() || value.empty()) {
    place.fail(name + " must be a list of {role, content}, at least one, found " +
               printable(value.dump(), 60));
  }
  std::vector<ChatMessage> messages;
  for (std::size_t i = 0; i < value.size(); ++i) {
    messages.push_back(message_at(place, value[i], name + "[" + std::to_string(i) + "]"));
  }
  return messages;
}

TextOrMessages text_or_messages_at(const Place& place, const std::string& name) {
  const json& value = place.row[name];
  if (value.is_array()) return messages_at(place, value, name);
  if (value.is_string()) return value.get<std::string>();
  place.fail(name + " must be a string or a list of {role, content}, found " +
             printable(value.dump(), 60));
}

struct Range {
  std::int64_t lowest;
  std::int64_t highest;
  bool or_ignored;  ///< -100 is legal too

  bool holds(const json& value) const {
    if (!value.is_number_integer()) return false;
    // Beyond int64 the library keeps an unsigned number, which would turn negative.
    if (value.is_number_unsigned() &&
        value.get<std::uint64_t>() > static_cast<std::uint64_t>(highest)) {
      return false;
    }
    const auto number = value.get<std::int64_t>();
    return (number >= lowest && number <= highest) || (or_ignored && number == kIgnoredLabel);
  }
};

std::vector<std::int64_t> numbers_at(const Place& place, const std::string& name, Range range) {
  const json& value = place.row[name];
  if (!value.is_array() || value.empty()) {
    place.fail(name + " must be a list of whole numbers, at least one, found " +
               printable(value.dump(), 60));
  }
  std::vector<std::int64_t> numbers;
  numbers.reserve(value.size());
  for (std::size_t i = 0; i < value.size(); ++i) {
    if (!range.holds(value[i])) {
      place.fail(name + "[" + std::to_string(i) + "] must be a whole number in [" +
                 std::to_string(range.lowest) + ", " + std::to_string(range.highest) + "]" +
                 (range.or_ignored ? " or -100" : "") + ", found " +
                 printable(value[i].dump(), 60));
    }
    numbers.push_back(value[i].get<std::int64_t>());
  }
  return numbers;
}

std::optional<std::vector<std::int64_t>> beside_input_ids(const Place& place,
                                                          const std::string& name, Range range) {
  if (!place.row.contains(name) || place.row[name].is_null()) return std::nullopt;
  return numbers_at(place, name, range);
}

TokensRow tokens_at(const Place& place) {
  for (const auto& item : place.row.items()) {
    const std::string& key = item.key();
    if (key != "input_ids" && key != "attention_mask" && key != "labels" && key != "weight") {
      place.fail("unknown key \"" + printable(key, 40) +
                 "\"; expected keys {input_ids, attention_mask?, labels?, weight?}");
    }
  }
  constexpr Range kIds{0, std::numeric_limits<std::int32_t>::max(), false};
  constexpr Range kLabels{0, std::numeric_limits<std::int32_t>::max(), true};
  TokensRow row{.input_ids = numbers_at(place, "input_ids", kIds),
                .attention_mask = std::nullopt,
                .labels = std::nullopt};
  row.attention_mask = beside_input_ids(place, "attention_mask", Range{0, 1, false});
  row.labels = beside_input_ids(place, "labels", kLabels);
  return row;
}

CompletionRow completion_at(const Place& place) {
  CompletionRow row{text_or_messages_at(place, "prompt"), text_or_messages_at(place, "completion")};
  if (row.prompt.index() != row.completion.index()) {
    place.fail("prompt and completion must both be strings or both be lists of {role, content}");
  }
  return row;
}

DataRow row_of_form(const Place& place, Form form) {
  switch (form) {
    case Form::Text: return TextRow{string_at(place, place.row["text"], "text")};
    case Form::Completion: return completion_at(place);
    case Form::Messages: return MessagesRow{messages_at(place, place.row["messages"], "messages")};
    case Form::Tokens: break;
  }
  return tokens_at(place);
}

double weight_at(const Place& place) {
  if (!place.row.contains("weight")) return 1.0;
  const json& value = place.row["weight"];
  const double weight = value.is_number() ? value.get<double>() : -1.0;
  if (weight == 0 || (weight >= 1e-30 && weight <= 1e30)) return weight;
  place.fail("weight must be 0 or a number in [1e-30, 1e30], found " + printable(value.dump(), 60));
}

[[noreturn]] void throw_empty(const std::filesystem::path& path, const char* expected) {
  throw InputError(printable(path.string()) +
                   ": holds no rows; expected one JSON object per line: " + expected);
}

}  // namespace

std::vector<TrainingRow> read_training_rows(const std::filesystem::path& path, LineLimits limits) {
  LineReader reader{path, limits};
  std::vector<TrainingRow> rows;
  std::optional<Form> form;
  std::string first_where;
  while (const auto line = reader.next()) {
    const json object = detail::parse_json_object(*line, limits);
    const Place place{object, line->where};
    if (!form) {
      form = form_of_first_row(place);
      first_where = line->where;
    } else if (!has_form(object, *form)) {
      place.fail(std::string{"expected keys "} + keys_of(*form) + " as in " + first_where +
                 ", found " + detail::key_list(object) + "; a file has one form");
    }
    rows.push_back({row_of_form(place, *form), weight_at(place), line->where});
  }
  if (rows.empty()) throw_empty(path, kTrainingForms);
  return rows;
}

std::vector<PromptRow> read_prompts(const std::filesystem::path& path, LineLimits limits) {
  LineReader reader{path, limits};
  std::vector<PromptRow> rows;
  while (auto line = reader.next()) {
    const json object = detail::parse_json_object(*line, limits);
    const Place place{object, line->where};
    if (!object.contains("prompt")) {
      place.fail("expected the key prompt (a string or a list of {role, content}), found " +
                 detail::key_list(object));
    }
    rows.push_back(
        {text_or_messages_at(place, "prompt"), std::move(line->text), std::move(line->where)});
  }
  if (rows.empty()) throw_empty(path, "{prompt}, and what the reward needs");
  return rows;
}

}  // namespace hone
