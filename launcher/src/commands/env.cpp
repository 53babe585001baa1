#include <limits>
#include <string>

#include "environment_report.hpp"
#include "hone/core/printable.hpp"
#include "hone/launcher/commands.hpp"

namespace hone::launcher {
namespace {

using nlohmann::ordered_json;

std::string value_text(const ordered_json& value) {
  if (value.is_null()) return "none";
  if (value.is_boolean()) return value.get<bool>() ? "yes" : "no";
  if (!value.is_object()) {
    const std::string text = value.is_string() ? value.get<std::string>() : value.dump();
    return printable(text, std::numeric_limits<std::size_t>::max());
  }
  std::string text;
  for (const auto& [name, part] : value.items()) {
    text += (text.empty() ? "" : ", ") + name + ' ' + value_text(part);
  }
  return text;
}

std::string report_text(const ordered_json& report) {
  constexpr std::size_t kNameColumns = 24;
  std::string text;
  for (const auto& [section, values] : report.items()) {
    text += section + '\n';
    for (const auto& [name, value] : values.items()) {
      std::string left = "  " + name;
      left.resize(std::max(left.size() + 1, kNameColumns), ' ');
      text += left + value_text(value) + '\n';
    }
  }
  return text;
}

}  // namespace

int run_env(const CommandContext& context, Arguments arguments) {
  bool json = false;
  OptionRegistry registry{"hone env",
                          "Shows versions, cores and how this process was started; for bug reports."};
  registry.group("Output").add("json", &json, "JSON to standard output.");
  if (!parse_options(context, registry, arguments)) return 0;
  const ordered_json report = environment_report(context.environment);
  context.screen.print(
      json ? report.dump(2, ' ', false, ordered_json::error_handler_t::replace) + '\n'
           : report_text(report));
  return 0;
}

}  // namespace hone::launcher
