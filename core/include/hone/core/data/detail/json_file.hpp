#pragma once

#include <filesystem>
#include <string>

#include <nlohmann/json.hpp>

namespace hone::detail {

/// The object that `text`, read from `file`, is. Only for implementation files, as json_line.hpp.
/// Throws: InputError "file:line:column: not valid JSON: ..." with what to do; for anything but an
/// object, for a key that comes twice, and for what is nested deeper than any such file or has more
/// in it (LineLimits), as well.
nlohmann::ordered_json parse_json_file(const std::string& text, const std::filesystem::path& file);

}  // namespace hone::detail
