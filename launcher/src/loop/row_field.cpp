#include "row_field.hpp"

#include "hone/core/data/detail/json_line.hpp"
#include "hone/core/error.hpp"
#include "hone/core/printable.hpp"

namespace hone::launcher {
namespace {

std::string text_of(const nlohmann::json& value, const PromptRow& row, const std::string& field) {
  if (value.is_string()) return value.get<std::string>();
  if (value.is_number() || value.is_boolean()) return value.dump();
  throw InputError(row.where + ": the reward's field \"" + printable(field, 60) +
                   "\" must be a string, a number, true or false, or a list of these, found " +
                   printable(value.dump(), 60));
}

}  // namespace

std::vector<std::string> field_texts(const PromptRow& row, const std::string& field) {
  const auto object = detail::parse_json_object({row.json, row.where});
  const auto found = object.find(field);
  if (found == object.end()) {
    throw InputError(row.where + ": the reward needs the field \"" + printable(field, 60) +
                     "\", found keys " + detail::key_list(object));
  }
  if (!found->is_array() || found->empty()) return {text_of(*found, row, field)};
  std::vector<std::string> texts;
  for (const auto& value : *found) texts.push_back(text_of(value, row, field));
  return texts;
}

}  // namespace hone::launcher
