#pragma once

#include <cstdint>
#include <filesystem>
#include <string>
#include <string_view>

#include "hone/core/options/range.hpp"

namespace hone::detail {

/// Text to value and back for every type an option can have. parse_value() returns false, and
/// leaves `value` alone, where the text is no such value; print_value() gives text that parses to
/// the same bits and that any YAML reader takes for the same type.
bool parse_value(std::string_view text, bool& value);
bool parse_value(std::string_view text, std::int64_t& value);
bool parse_value(std::string_view text, double& value);
bool parse_value(std::string_view text, std::string& value);
bool parse_value(std::string_view text, std::filesystem::path& value);

std::string print_value(bool value);
std::string print_value(std::int64_t value);
std::string print_value(double value);
std::string print_value(const std::string& value);
std::string print_value(const std::filesystem::path& value);

/// What messages and help call a type. `quoted`: its YAML scalars are written in quotes.
struct TypeWords {
  std::string_view one;      ///< "a whole number"
  std::string_view many;     ///< "whole numbers"
  std::string_view metavar;  ///< "N"
  bool quoted = false;
};
constexpr TypeWords type_words(const bool*) { return {"true or false", "truths", "true|false"}; }
constexpr TypeWords type_words(const std::int64_t*) {
  return {"a whole number", "whole numbers", "N"};
}
constexpr TypeWords type_words(const double*) { return {"a number", "numbers", "X"}; }
constexpr TypeWords type_words(const std::string*) { return {"text", "texts", "TEXT", true}; }
constexpr TypeWords type_words(const std::filesystem::path*) {
  return {"a path", "paths", "PATH", true};
}

/// Only numbers have ranges.
inline bool in_range(const Range& range, std::int64_t value) {
  return range.contains(static_cast<double>(value));
}
inline bool in_range(const Range& range, double value) { return range.contains(value); }
template <typename T>
bool in_range(const Range&, const T&) {
  return true;
}

}  // namespace hone::detail
