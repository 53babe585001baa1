#pragma once

#include <optional>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "hone/core/options/detail/option_value.hpp"
#include "hone/core/options/range.hpp"

namespace hone::detail {

/// What messages, help and YAML need to know of an option's type.
struct OptionShape {
  bool list = false;
  bool boolean = false;
  bool nullable = false;
  bool quoted = false;
  std::string expects = {};  ///< "a whole number > 0"
  std::string metavar = {};  ///< "N"
};

/// The variable behind an option, its type erased.
class OptionTarget {
 public:
  virtual ~OptionTarget() = default;
  virtual OptionShape shape() const = 0;
  /// False, and the variable untouched, where the texts are no such value. One text unless a list.
  virtual bool assign(std::span<const std::string> texts) = 0;
  /// Sets a nullable variable to nothing.
  virtual void clear() {}
  /// The present value; none where a nullable variable holds nothing.
  virtual std::optional<std::vector<std::string>> texts() const = 0;
};

template <typename T>
struct VariableTraits {
  using Element = T;
  static constexpr bool kNullable = false, kList = false;
};
template <typename T>
struct VariableTraits<std::optional<T>> {
  using Element = T;
  static constexpr bool kNullable = true, kList = false;
};
template <typename T>
struct VariableTraits<std::vector<T>> {
  using Element = T;
  static constexpr bool kNullable = false, kList = true;
};

/// A variable of a built-in type, an optional or a list of one.
template <typename T>
class TypedTarget final : public OptionTarget {
  using Traits = VariableTraits<T>;
  using Element = typename Traits::Element;

 public:
  TypedTarget(T* variable, const Range& range) : variable_(variable), range_(range) {}

  OptionShape shape() const override {
    constexpr TypeWords words = type_words(static_cast<const Element*>(nullptr));
    const std::string kind = Traits::kList ? "a list of " + std::string{words.many}
                                           : std::string{words.one};
    return {.list = Traits::kList,
            .boolean = std::is_same_v<Element, bool>,
            .nullable = Traits::kNullable,
            .quoted = words.quoted,
            .expects = kind + range_.describe() + (Traits::kNullable ? " or null" : ""),
            .metavar = std::string{words.metavar} + (Traits::kList ? "..." : "")};
  }

  bool assign(std::span<const std::string> texts) override {
    std::vector<Element> parsed(texts.size());
    for (std::size_t i = 0; i < texts.size(); ++i) {
      Element element{};
      if (!parse_value(texts[i], element) || !in_range(range_, element)) return false;
      parsed[i] = std::move(element);
    }
    if constexpr (Traits::kList) {
      *variable_ = std::move(parsed);
    } else {
      if (parsed.size() != 1) return false;
      *variable_ = static_cast<Element>(parsed.front());
    }
    return true;
  }

  void clear() override {
    if constexpr (Traits::kNullable) variable_->reset();
  }

  std::optional<std::vector<std::string>> texts() const override {
    std::vector<std::string> printed;
    if constexpr (Traits::kList) {
      for (const Element& element : *variable_) printed.push_back(print_value(element));
    } else if constexpr (Traits::kNullable) {
      if (!*variable_) return std::nullopt;
      printed.push_back(print_value(**variable_));
    } else {
      printed.push_back(print_value(*variable_));
    }
    return printed;
  }

 private:
  T* variable_;
  Range range_;
};

/// A variable that takes one of a few named values.
template <typename T>
class ChoiceTarget final : public OptionTarget {
 public:
  ChoiceTarget(T* variable, std::vector<std::pair<std::string, T>> choices)
      : variable_(variable), choices_(std::move(choices)) {}

  OptionShape shape() const override {
    return {.quoted = true, .expects = "one of " + joined(", "), .metavar = joined("|")};
  }

  bool assign(std::span<const std::string> texts) override {
    for (const auto& [name, value] : choices_) {
      if (texts.size() != 1 || name != texts.front()) continue;
      *variable_ = value;
      return true;
    }
    return false;
  }

  std::optional<std::vector<std::string>> texts() const override {
    for (const auto& [name, value] : choices_) {
      if (value == *variable_) return std::vector<std::string>{name};
    }
    return std::vector<std::string>{""};
  }

 private:
  std::string joined(const char* separator) const {
    std::string text;
    for (const auto& [name, value] : choices_) text += (text.empty() ? "" : separator) + name;
    return text;
  }

  T* variable_;
  std::vector<std::pair<std::string, T>> choices_;
};

}  // namespace hone::detail
