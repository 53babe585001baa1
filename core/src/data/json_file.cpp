#include "hone/core/data/detail/json_file.hpp"

#include <algorithm>
#include <utility>

#include "data/json_builder.hpp"
#include "hone/core/data/detail/json_line.hpp"
#include "hone/core/error.hpp"

namespace hone::detail {
namespace {

using Json = nlohmann::ordered_json;

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
  const auto explain = [&](const nlohmann::json::exception& error, std::size_t byte) {
    const auto at = byte == 0 ? "" : ':' + line_and_column(text, byte);
    return InputError{file.string() + at + ": not valid JSON: " + reason_of(error) +
                      ". Mend the file" + (byte == 0 ? "" : " there") + ", or fetch it again"};
  };
  // Of limited depth, as the JSON library copies, compares and prints by recursion.
  JsonBuilder<Json> builder{file.string(), {}, explain};
  Json::sax_parse(text, &builder);
  auto json = std::move(builder).result();
  if (!json.is_object()) throw InputError{file.string() + ": expected a JSON object"};
  return json;
}

}  // namespace hone::detail
