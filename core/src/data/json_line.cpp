#include "hone/core/data/detail/json_line.hpp"

#include <set>
#include <string_view>
#include <vector>

#include "hone/core/error.hpp"
#include "hone/core/printable.hpp"

namespace hone::detail {
namespace {

using Json = nlohmann::json;

constexpr std::size_t kMostKeys = 100'000;  ///< of one object

/// Watches the parser: nesting stays within the limit, and no key comes twice (the parser itself
/// would silently keep the last).
class Guard {
 public:
  Guard(const std::string& where, const LineLimits& limits, const JsonObserver& observer)
      : where_(where), limits_(limits), observer_(observer) {}

  bool operator()(int depth, Json::parse_event_t event, Json& parsed) {
    using Event = Json::parse_event_t;
    if (event == Event::object_start || event == Event::array_start) {
      if (depth >= limits_.max_depth) {
        throw InputError(where_ + ": nested more than " + std::to_string(limits_.max_depth) +
                         " levels deep");
      }
      if (event == Event::object_start) keys_.emplace_back();
    } else if (event == Event::object_end) {
      keys_.pop_back();
    } else if (event == Event::key) {
      const auto& key = parsed.get_ref<const std::string&>();
      if (!keys_.back().insert(key).second) {
        throw InputError(where_ + ": the key \"" + printable(key, 60) + "\" comes twice");
      }
      if (keys_.back().size() > kMostKeys) {
        throw InputError(where_ + ": an object of more than " + std::to_string(kMostKeys) + " keys");
      }
    } else if (event == Event::value && ++num_values_ > limits_.max_values) {
      throw InputError(where_ + ": more than " + std::to_string(limits_.max_values) + " values");
    }
    return !observer_ || observer_(depth, event, parsed);
  }

 private:
  const std::string& where_;
  const LineLimits& limits_;
  const JsonObserver& observer_;
  std::size_t num_values_ = 0;
  std::vector<std::set<std::string>> keys_;
};

const char* type_with_article(const Json& value) {
  if (value.is_array()) return "an array";
  if (value.is_string()) return "a string";
  if (value.is_number()) return "a number";
  return value.is_null() ? "null" : "true or false";
}

}  // namespace

std::string reason_of(const Json::exception& error) {
  const std::string_view text = error.what();
  const auto column = text.find(", column ");
  const auto colon = column == std::string_view::npos ? text.find("] ") : text.find(": ", column);
  return printable(colon == std::string_view::npos ? text : text.substr(colon + 2));
}

Json parse_json(const std::string& text, const std::string& where, const LineLimits& limits,
                const JsonObserver& observer) {
  Guard guard{where, limits, observer};
  try {
    return Json::parse(text, std::ref(guard));
  } catch (const Json::parse_error& error) {
    throw InputError(where + ":" + std::to_string(error.byte) +
                     ": not valid JSON: " + reason_of(error));
  } catch (const Json::exception& error) {
    throw InputError(where + ": not valid JSON: " + reason_of(error));
  }
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
