#include "hone/core/options/option.hpp"

#include <utility>

namespace hone {

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

bool Option::assign(const std::optional<std::vector<std::string>>& texts, OptionSource source) {
  if (!texts) {
    if (!shape_.nullable) return false;
    target_->clear();
  } else if (!target_->assign(*texts)) {
    return false;
  }
  source_ = source;
  return true;
}

}  // namespace hone
