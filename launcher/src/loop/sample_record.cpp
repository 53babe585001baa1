#include "hone/launcher/loop/sample_record.hpp"

#include <algorithm>
#include <type_traits>

#include "hone/core/data/detail/json_line.hpp"
#include "hone/core/error.hpp"

namespace hone::launcher {
namespace {

bool are_integers(const nlohmann::json& value) {
  if (!value.is_array()) return detail::is_int64(value);
  return std::all_of(value.begin(), value.end(),
                     [](const auto& item) { return detail::is_int64(item); });
}

template <typename Value>
bool try_read(const nlohmann::json& object, const char* key, Value& into) {
  constexpr bool kOfIntegers =
      std::is_same_v<Value, std::int64_t> || std::is_same_v<Value, std::vector<std::int64_t>>;
  try {
    const auto& value = object.at(key);
    if (kOfIntegers && !are_integers(value)) return false;
    value.get_to(into);
    return true;
  } catch (const nlohmann::json::exception&) {
    return false;
  }
}

template <typename Value>
void read(const nlohmann::json& object, const char* key, Value& into, const Line& line) {
  if (try_read(object, key, into)) return;
  throw InputError(line.where + ": the key " + key + " is missing or of another type, found " +
                   detail::key_list(object));
}

}  // namespace

std::string to_json_line(const SampleRecord& record) {
  const nlohmann::ordered_json object{{"round", record.round},
                                      {"step", record.step},
                                      {"prompt_index", record.prompt_index},
                                      {"k", record.k},
                                      {"rank", record.rank},
                                      {"prompt", record.prompt},
                                      {"completion", record.completion},
                                      {"prompt_ids", record.prompt_ids},
                                      {"completion_ids", record.completion_ids},
                                      {"finish_reason", record.finish_reason},
                                      {"reward", record.reward},
                                      {"kept", record.kept},
                                      {"outcome", record.outcome}};
  return object.dump(-1, ' ', false, nlohmann::ordered_json::error_handler_t::replace);
}

SampleRecord parse_sample_record(const Line& line) {
  const auto object = detail::parse_json_object(line);
  SampleRecord record;
  read(object, "round", record.round, line);
  read(object, "step", record.step, line);
  read(object, "prompt_index", record.prompt_index, line);
  read(object, "k", record.k, line);
  read(object, "rank", record.rank, line);
  read(object, "prompt", record.prompt, line);
  read(object, "completion", record.completion, line);
  read(object, "prompt_ids", record.prompt_ids, line);
  read(object, "completion_ids", record.completion_ids, line);
  read(object, "finish_reason", record.finish_reason, line);
  read(object, "reward", record.reward, line);
  read(object, "kept", record.kept, line);
  read(object, "outcome", record.outcome, line);
  return record;
}

}  // namespace hone::launcher
