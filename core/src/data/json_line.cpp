#include "hone/core/data/detail/json_line.hpp"

#include <string_view>
#include <utility>

#include "data/json_builder.hpp"
#include "hone/core/error.hpp"
#include "hone/core/printable.hpp"

namespace hone::detail {
namespace {

using Json = nlohmann::json;

const char* type_with_article(const Json& value) {
  if (value.is_array()) return "an array";
  if (value.is_string()) return "a string";
  if (value.is_number()) return "a number";
  return value.is_null() ? "null" : "true or false";
}

}  // namespace

bool is_int64(const nlohmann::json& value) {
  if (!value.is_number_unsigned()) return value.is_number_integer();
  return value.get<std::uint64_t>() <= std::uint64_t{INT64_MAX};
}

std::int64_t integer_at(const nlohmann::json& object, const char* key) {
  const auto& value = object.at(key);
  if (!is_int64(value)) throw InputError{std::string{key} + " is not an integer"};
  return value.get<std::int64_t>();
}

std::string reason_of(const Json::exception& error) {
  const std::string_view text = error.what();
  const auto column = text.find(", column ");
  const auto colon = column == std::string_view::npos ? text.find("] ") : text.find(": ", column);
  return printable(colon == std::string_view::npos ? text : text.substr(colon + 2));
}

Json parse_json(const std::string& text, const std::string& where, const LineLimits& limits,
                const JsonTaker& take) {
  const auto explain = [&](const Json::exception& error, std::size_t byte) {
    const auto at = byte == 0 ? "" : ":" + std::to_string(byte);
    return InputError(where + at + ": not valid JSON: " + reason_of(error));
  };
  JsonBuilder<Json> builder{where, limits, explain, take};
  Json::sax_parse(text, &builder);
  return std::move(builder).result();
}

Json parse_json_object(const Line& line, const LineLimits& limits) {
  Json value;
  try {
    value = parse_json(line.text, line.where, limits);
  } catch (const InputError& error) {
    // The two files that are JSON but not JSON lines: an array, and an object over several lines.
    const auto first = line.text.find_first_not_of(" \t");
    const bool opens_only = first != std::string::npos &&
                            line.text.find_first_not_of(" \t", first + 1) == std::string::npos;
    if (!opens_only || (line.text[first] != '{' && line.text[first] != '[')) throw;
    throw InputError(line.where + ": found a lone \"" + line.text[first] +
                     "\"; expected one whole JSON object per line (jq -c . rewrites such a file)");
  }
  if (value.is_object()) return value;
  throw InputError(line.where + ": expected a JSON object, found " + type_with_article(value) +
                   (value.is_array() ? " (jq -c '.[]' turns one into JSON lines)" : ""));
}

std::string key_list(const Json& object) {
  constexpr int kMostShown = 8;
  std::string list;
  int shown = 0;
  for (const auto& item : object.items()) {
    if (++shown > kMostShown) break;
    list += (list.empty() ? "" : ", ") + printable(item.key(), 40);
  }
  return "{" + list + (shown > kMostShown ? ", ..." : "") + "}";
}

}  // namespace hone::detail
