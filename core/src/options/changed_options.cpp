#include "hone/core/options/changed_options.hpp"

#include <yaml-cpp/yaml.h>

#include <algorithm>
#include <cctype>
#include <utility>

namespace hone {
namespace {

using Flat = std::vector<std::pair<std::string, std::string>>;  // dotted name, value as YAML

/// No configuration of ours has more. Aliases to aliases would make billions of a few lines, and one
/// to what it stands in has no end.
constexpr int kMostParts = 8;
constexpr std::size_t kMostOptions = 10'000;

void flatten(const YAML::Node& node, const std::string& prefix, std::size_t& seen, Flat& into,
             int parts = 1) {
  for (const auto& pair : node) {
    if (parts > kMostParts || ++seen > kMostOptions) {
      throw YAML::Exception{node.Mark(), "too many options"};
    }
    const auto name = prefix + pair.first.Scalar();
    if (pair.second.IsMap()) {
      flatten(pair.second, name + '.', seen, into, parts + 1);
    } else {
      into.emplace_back(name, pair.second.IsNull() ? "null" : YAML::Dump(pair.second));
    }
  }
}

Flat flat(std::string_view yaml) {
  Flat options;
  try {
    const auto root = YAML::Load(std::string{yaml});
    std::size_t seen = 0;
    if (root.IsMap()) flatten(root, "", seen, options);
  } catch (const YAML::Exception&) {
    options.clear();
  }
  return options;
}

}  // namespace

std::vector<ChangedOption> changed_options(std::string_view before, std::string_view after) {
  const Flat old_values = flat(before);
  std::vector<ChangedOption> changes;
  for (const auto& [name, value] : flat(after)) {
    const auto found = std::ranges::find(old_values, name, &Flat::value_type::first);
    const std::string old_value = found == old_values.end() ? "nothing" : found->second;
    if (old_value != value) changes.push_back({name, old_value, value});
  }
  return changes;
}

std::string as_flag(const std::string& name, const std::string& value) {
  if (value == "nothing") return {};
  const auto node = YAML::Load(value);
  if (!node.IsScalar() && !node.IsNull()) return {};
  const auto word = node.IsNull() ? std::string{"null"} : node.Scalar();
  const auto is_plain = [](unsigned char letter) {
    return std::isalnum(letter) != 0 ||
           std::string_view{"_-./:,+=@%"}.find(static_cast<char>(letter)) != std::string_view::npos;
  };
  const auto flag = "--" + name + ' ';
  if (!word.empty() && std::ranges::all_of(word, is_plain)) return flag + word;
  std::string quoted;
  for (const char letter : word) {
    quoted += letter == '\'' ? std::string{"'\\''"} : std::string{letter};
  }
  return flag + '\'' + quoted + '\'';
}

}  // namespace hone
