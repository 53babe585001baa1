#include "hone/core/data/detail/json_file.hpp"

#include <algorithm>

#include "hone/core/data/detail/json_line.hpp"
#include "hone/core/error.hpp"

namespace hone::detail {
namespace {

using Json = nlohmann::ordered_json;

constexpr int kMaxDepth = 64;

/// "3:14", of a byte that the parser counts from 1.
std::string line_and_column(const std::string& text, std::size_t byte) {
  const auto at = std::min(byte == 0 ? 0 : byte - 1, text.size());
  const auto end = text.begin() + static_cast<std::ptrdiff_t>(at);
  const auto line = 1 + std::count(text.begin(), end, '\n');
  const auto before = at == 0 ? std::string::npos : text.rfind('\n', at - 1);
  const auto column = before == std::string::npos ? at + 1 : at - before;
  return std::to_string(line) + ':' + std::to_string(column);
}

}  // namespace

Json parse_json_file(const std::string& text,
                     const std::filesystem::path& file) {
  // The JSON library copies, compares and prints by recursion: what is deep would end the program.
  const auto is_shallow = [&](int depth, Json::parse_event_t event, const Json&) {
    const bool opens = event == Json::parse_event_t::object_start || event == Json::parse_event_t::array_start;
    if (opens && depth >= kMaxDepth) {
      throw InputError{file.string() + ": nested more than " + std::to_string(kMaxDepth) + " levels deep"};
    }
    return true;
  };
  Json json;
  try {
    json = Json::parse(text, is_shallow);
  } catch (const nlohmann::json::parse_error& error) {
    throw InputError{file.string() + ':' + line_and_column(text, error.byte) +
                     ": not valid JSON: " + reason_of(error) +
                     ". Mend the file there, or fetch it again"};
  } catch (const nlohmann::json::exception& error) {
    throw InputError{file.string() + ": not valid JSON: " + reason_of(error) +
                     ". Mend the file, or fetch it again"};
  }
  if (!json.is_object()) throw InputError{file.string() + ": expected a JSON object"};
  return json;
}

}  // namespace hone::detail
