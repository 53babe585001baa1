#include "hone/launcher/loop/number_text.hpp"

#include <utility>

namespace hone::launcher {
namespace {

constexpr std::string_view kMinusSign = "\xE2\x88\x92";  // U+2212
constexpr std::size_t kMaxExponentDigits = 4;

bool is_digit(char c) { return c >= '0' && c <= '9'; }
bool is_letter(char c) { return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z'); }

std::size_t digits_from(std::string_view text, std::size_t at) {
  std::size_t end = at;
  while (end < text.size() && is_digit(text[end])) ++end;
  return end - at;
}

/// True where exactly three digits follow a comma at `at`.
bool is_group(std::string_view text, std::size_t at) {
  return at < text.size() && text[at] == ',' && digits_from(text, at + 1) == 3;
}

Decimal normalised(bool negative, std::string digits, long exponent) {
  const auto first = digits.find_first_not_of('0');
  if (first == std::string::npos) return {};
  digits.erase(digits.find_last_not_of('0') + 1);
  digits.erase(0, first);
  return {negative, std::move(digits), exponent - static_cast<long>(first)};
}

/// Reads numbers from left to right.
class Scanner {
 public:
  explicit Scanner(std::string_view text) : text_(text) {}

  std::optional<Decimal> next() {
    while (at_ < text_.size() && !starts_number()) ++at_;
    if (at_ == text_.size()) return std::nullopt;
    const bool negative = is_negative();
    std::string digits = whole_part();
    const auto whole = static_cast<long>(digits.size());
    digits += fraction();
    return normalised(negative, std::move(digits), whole + exponent());
  }

 private:
  bool starts_number() const {
    if (is_digit(text_[at_])) return true;
    // ".5", but not the point of "a.5" or the one between "1.2" and ".3".
    return text_[at_] == '.' && digits_from(text_, at_ + 1) > 0 &&
           (at_ == 0 || (!is_digit(text_[at_ - 1]) && !is_letter(text_[at_ - 1])));
  }

  bool is_negative() const {
    const std::string_view before = text_.substr(0, at_);
    const std::size_t sign = before.ends_with(kMinusSign) ? kMinusSign.size()
                             : before.ends_with('-')      ? 1
                                                          : 0;
    return sign > 0 &&
           (before.size() == sign || may_precede_sign(before[before.size() - sign - 1]));
  }

  static bool may_precede_sign(char c) {
    return !is_digit(c) && !is_letter(c) && c != ')' && c != ']' && c != '}' && c != '.';
  }

  std::string whole_part() {
    const std::size_t length = digits_from(text_, at_);
    std::string digits{text_.substr(at_, length)};
    at_ += length;
    while (length <= 3 && is_group(text_, at_)) {
      digits += text_.substr(at_ + 1, 3);
      at_ += 4;
    }
    return digits;
  }

  std::string fraction() {
    if (at_ >= text_.size() || text_[at_] != '.') return {};
    const std::size_t length = digits_from(text_, at_ + 1);
    if (length == 0) return {};
    const std::size_t begin = at_ + 1;
    at_ = begin + length;
    return std::string{text_.substr(begin, length)};
  }

  long exponent() {
    std::size_t at = at_;
    if (at >= text_.size() || (text_[at] != 'e' && text_[at] != 'E')) return 0;
    ++at;
    const bool negative = at < text_.size() && text_[at] == '-';
    if (at < text_.size() && (text_[at] == '-' || text_[at] == '+')) ++at;
    const std::size_t length = digits_from(text_, at);
    const bool letter_follows = at + length < text_.size() && is_letter(text_[at + length]);
    if (length == 0 || length > kMaxExponentDigits || letter_follows) return 0;
    at_ = at + length;
    const long value = std::stol(std::string{text_.substr(at, length)});
    return negative ? -value : value;
  }

  std::string_view text_;
  std::size_t at_ = 0;
};

}  // namespace

std::vector<Decimal> find_numbers(std::string_view text) {
  std::vector<Decimal> numbers;
  Scanner scanner{text};
  while (auto number = scanner.next()) numbers.push_back(std::move(*number));
  return numbers;
}

std::optional<Decimal> first_number(std::string_view text) { return Scanner{text}.next(); }

std::optional<Decimal> last_number(std::string_view text) {
  Scanner scanner{text};
  std::optional<Decimal> last;
  while (auto number = scanner.next()) last = std::move(number);
  return last;
}

}  // namespace hone::launcher
