// In place of option_yaml.cpp, which needs a library: options are written as lines and not read.
#include "options/option_yaml.hpp"

namespace hone::detail {

OptionReading read_yaml(const OptionLookup&, std::string_view, std::string_view name) {
  OptionReading reading;
  reading.problems.push_back(std::string{name} + ": this build reads no YAML");
  return reading;
}

std::string write_yaml(const std::deque<Option>& options) {
  std::string lines;
  for (const auto& option : options) {
    lines += option.name() + ':';
    for (const auto& text : option.texts().value_or(std::vector<std::string>{"null"})) {
      lines += ' ' + text;
    }
    lines += '\n';
  }
  return lines;
}

}  // namespace hone::detail
