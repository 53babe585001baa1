#include "hone/core/options/option.hpp"

#include <algorithm>
#include <utility>

namespace hone {
namespace {

/// "2, 8" and "64" are "2", "8", "64".
std::vector<std::string> split_at_commas(const std::vector<std::string>& texts) {
  std::vector<std::string> parts;
  for (const auto& text : texts) {
    for (std::size_t begin = 0; begin <= text.size();) {
      const auto end = std::min(text.find(',', begin), text.size());
      const auto first = std::min(text.find_first_not_of(' ', begin), end);
      const auto last = text.find_last_not_of(' ', end == 0 ? 0 : end - 1);
      parts.push_back(first == end ? "" : text.substr(first, last - first + 1));
      begin = end + 1;
    }
  }
  return parts;
}

}  // namespace

Option::Option(std::string prefix, std::string name, std::string group, std::string help,
               std::unique_ptr<detail::OptionTarget> target)
    : prefix_(std::move(prefix)),
      name_(prefix_ + std::move(name)),
      group_(std::move(group)),
      help_(std::move(help)),
      target_(std::move(target)),
      shape_(target_->shape()),
      default_texts_(target_->texts()) {}

Option& Option::required() {
  required_ = true;
  return *this;
}

Option& Option::alias(std::string name, std::string notice) {
  name = prefix_ + name;
  if (notice.empty()) notice = "\"" + name + "\" is called \"" + name_ + "\" here";
  aliases_.push_back({std::move(name), std::move(notice)});
  return *this;
}

Option& Option::positional() {
  positional_ = true;
  return command_line_only();
}

Option& Option::command_line_only() {
  command_line_only_ = true;
  return *this;
}

Option& Option::comma_separated() {
  comma_separated_ = true;
  shape_.expects += " with commas between";
  shape_.metavar = shape_.metavar.substr(0, shape_.metavar.find("...")) + ",...";
  return *this;
}

bool Option::assign(const std::optional<std::vector<std::string>>& texts, OptionSource source) {
  if (!texts) {
    if (!shape_.nullable) return false;
    target_->clear();
  } else if (!target_->assign(comma_separated_ ? split_at_commas(*texts) : *texts)) {
    return false;
  }
  source_ = source;
  return true;
}

}  // namespace hone
