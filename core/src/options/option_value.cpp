#include "hone/core/options/detail/option_value.hpp"

#include <algorithm>
#include <array>
#include <cctype>
#include <charconv>
#include <cmath>

namespace hone::detail {
namespace {

bool is_one_of(std::string_view text, std::initializer_list<std::string_view> words) {
  std::string lower{text};
  std::transform(lower.begin(), lower.end(), lower.begin(),
                 [](unsigned char c) { return static_cast<char>(std::tolower(c)); });
  return std::find(words.begin(), words.end(), lower) != words.end();
}

template <typename T>
bool parse_number(std::string_view text, T& value) {
  if (text.starts_with('+') && !text.starts_with("+-")) text.remove_prefix(1);
  T parsed{};
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), parsed);
  if (error != std::errc{} || end != text.data() + text.size()) return false;
  value = parsed;
  return true;
}

}  // namespace

bool parse_value(std::string_view text, bool& value) {
  // The words of transformers' HfArgumentParser, and YAML's on and off.
  if (is_one_of(text, {"true", "yes", "on", "t", "y", "1"})) return value = true, true;
  if (is_one_of(text, {"false", "no", "off", "f", "n", "0"})) return value = false, true;
  return false;
}

bool parse_value(std::string_view text, std::int64_t& value) { return parse_number(text, value); }

bool parse_value(std::string_view text, double& value) {
  double parsed = 0;
  if (!parse_number(text, parsed) || !std::isfinite(parsed)) return false;
  value = parsed;
  return true;
}

bool parse_value(std::string_view text, std::string& value) {
  value = text;
  return true;
}

bool parse_value(std::string_view text, std::filesystem::path& value) {
  value = text;
  return true;
}

std::string print_value(bool value) { return value ? "true" : "false"; }

std::string print_value(std::int64_t value) { return std::to_string(value); }

std::string print_value(double value) {
  std::array<char, 32> buffer;
  const auto [end, error] = std::to_chars(buffer.data(), buffer.data() + buffer.size(), value);
  std::string text{buffer.data(), end};
  // YAML 1.1 readers take "2e-05" for text and "1" for a whole number.
  if (text.find('.') == std::string::npos) {
    text.insert(std::min(text.find('e'), text.size()), ".0");
  }
  return text;
}

std::string print_value(const std::string& value) { return value; }

std::string print_value(const std::filesystem::path& value) { return value.string(); }

}  // namespace hone::detail
