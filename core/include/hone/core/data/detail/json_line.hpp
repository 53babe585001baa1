#pragma once

#include <cstdint>
#include <functional>
#include <string>

#include <nlohmann/json.hpp>

#include "hone/core/data/line_reader.hpp"

namespace hone::detail {

/// Parses one line that must be one JSON object. Only for implementation files: public interfaces
/// stay free of the JSON library.
/// Throws: InputError "where:column: ..." for broken JSON, nesting beyond the limit, a key that
/// comes twice, a number out of range, or anything but an object.
nlohmann::json parse_json_object(const Line& line, const LineLimits& limits = {});

/// Sees each object in a list of the outermost object, which is known up to there. Returns whether it
/// takes it away: then it does not stay, nor count.
using JsonTaker = std::function<bool(const nlohmann::json& outermost, const std::string& list,
                                     nlohmann::json& item)>;

/// As above without the demand for an object.
nlohmann::json parse_json(const std::string& text, const std::string& where,
                          const LineLimits& limits = {}, const JsonTaker& take = {});

/// Whether it is an integer that fits: the library would round, or overflow, what is none.
bool is_int64(const nlohmann::json& value);

/// An integer of an object. Throws: InputError for what is none, nlohmann::json::exception where there
/// is no such key.
std::int64_t integer_at(const nlohmann::json& object, const char* key);

/// The JSON library's text without its own prefix: "... at line 1, column 5: <this>".
std::string reason_of(const nlohmann::json::exception& error);

/// "{answer, prompt}": the keys of an object, for messages.
std::string key_list(const nlohmann::json& object);

}  // namespace hone::detail
