#pragma once

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

/// Sees what the JSON library's parser has just read, as its own callbacks do: keeps it, or drops it
/// by false.
using JsonObserver = std::function<bool(int depth, nlohmann::json::parse_event_t, nlohmann::json&)>;

/// As above without the demand for an object.
nlohmann::json parse_json(const std::string& text, const std::string& where,
                          const LineLimits& limits = {}, const JsonObserver& observer = {});

/// The JSON library's text without its own prefix: "... at line 1, column 5: <this>".
std::string reason_of(const nlohmann::json::exception& error);

/// "{answer, prompt}": the keys of an object, for messages.
std::string key_list(const nlohmann::json& object);

}  // namespace hone::detail
