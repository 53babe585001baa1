#include "options/option_help.hpp"

#include <algorithm>
#include <cctype>
#include <vector>

namespace hone::detail {
namespace {

constexpr std::size_t kLeftColumns = 34;

std::string upper(std::string_view name) {
  std::string text{name.substr(name.rfind('.') + 1)};
  std::transform(text.begin(), text.end(), text.begin(),
                 [](unsigned char c) { return static_cast<char>(std::toupper(c)); });
  return text;
}

std::string wrapped(std::string_view text, std::size_t indent, std::size_t width) {
  const std::size_t columns = std::max<std::size_t>(width > indent ? width - indent : 0, 20);
  std::string lines;
  std::size_t used = 0;
  while (!text.empty()) {
    const auto end = std::min(text.find(' '), text.size());
    if (used > 0 && used + 1 + end > columns) {
      lines += '\n' + std::string(indent, ' ');
      used = 0;
    } else if (used > 0) {
      lines += ' ';
      ++used;
    }
    lines += text.substr(0, end);
    used += end;
    text.remove_prefix(std::min(end + 1, text.size()));
  }
  return lines + '\n';
}

std::string left_side(const Option& option) {
  const OptionShape& shape = option.shape();
  if (shape.boolean) return "  --[no_]" + option.name();
  return "  --" + option.name() + ' ' + shape.metavar;
}

std::string default_of(const Option& option) {
  const auto& texts = option.default_texts();
  if (!texts) return "default null";
  if (!option.shape().list) {
    if (texts->front().empty()) return "";
    return "default " + texts->front();
  }
  if (texts->empty()) return "default empty";
  std::string joined = "default";
  for (const std::string& text : *texts) joined += ' ' + text;
  return joined;
}

std::string remarks(const Option& option) {
  std::vector<std::string> parts{option.shape().expects};
  if (option.is_required()) {
    parts.push_back("required");
  } else if (auto text = default_of(option); !text.empty()) {
    parts.push_back(text);
  }
  if (option.is_positional()) parts.push_back("may stand without its flag");
  for (const OptionAlias& alias : option.aliases()) parts.push_back("also --" + alias.name);
  std::string text;
  for (const std::string& part : parts) text += (text.empty() ? "(" : "; ") + part;
  return text + ')';
}

std::string option_lines(const Option& option, std::size_t width) {
  std::string left = left_side(option);
  if (left.size() + 2 > kLeftColumns) {
    left += '\n' + std::string(kLeftColumns, ' ');
  } else {
    left.resize(kLeftColumns, ' ');
  }
  return left + wrapped(option.help() + ' ' + remarks(option), kLeftColumns, width);
}

std::string usage(const std::deque<Option>& options, std::string_view command) {
  std::string text = "Usage: " + std::string{command};
  for (const Option& option : options) {
    if (!option.is_positional()) continue;
    const std::string word = upper(option.name());
    text += option.is_required() ? ' ' + word : " [" + word + ']';
  }
  for (const Option& option : options) {
    if (!option.is_required() || option.is_positional()) continue;
    text += " --" + option.name() + ' ' + option.shape().metavar;
  }
  return text + " [--name value ...]";
}

}  // namespace

std::string write_help(const std::deque<Option>& options, std::string_view command,
                       std::string_view summary, std::size_t width) {
  std::string text = wrapped(usage(options, command), 7, width) + '\n' + wrapped(summary, 0, width);
  std::vector<std::string> groups;
  for (const Option& option : options) {
    if (std::find(groups.begin(), groups.end(), option.group()) == groups.end()) {
      groups.push_back(option.group());
    }
  }
  for (const std::string& group : groups) {
    text += '\n' + group + '\n';
    for (const Option& option : options) {
      if (option.group() == group) text += option_lines(option, width);
    }
  }
  std::string help_line = "  --help";
  help_line.resize(kLeftColumns, ' ');
  return text + "\nHelp\n" + help_line + "This text.\n";
}

}  // namespace hone::detail
