#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace hone::launcher {

/// A decimal number, exactly: value = ±0.d1d2d3... × 10^exponent, without leading or trailing
/// zeros. Two texts that mean the same number give equal objects ("1,000.50" and "1000.5"),
/// whatever the size: no rounding, no locale. Zero has no digits, exponent 0 and no sign.
struct Decimal {
  bool negative = false;
  std::string digits;
  long exponent = 0;

  bool operator==(const Decimal&) const = default;
};

/// Every number in `text`, from left to right. A number is
///   [sign] digits [fraction] [exponent]   or   [sign] fraction [exponent]
/// - digits: 0-9, or groups with thousands commas in the right places ("1,234,567"; "1,2,3" is
///   three numbers and "1234,567" two);
/// - fraction: a point followed by at least one digit ("5." is 5 and the end of a sentence);
/// - exponent: e or E, an optional sign and one to four digits ("1e5"); not where a letter or digit
///   follows;
/// - sign: +, - or U+2212, directly before, and not directly after a letter, a digit, a closing
///   bracket or a point: "12-5" is 12 and 5, "x=-5" is -5, "3 - 5" is 3 and 5.
/// Letters and currency signs around a number do not matter ("$1,000", "x2", "50%" is 50); what
/// stands between a sign and the digits takes the sign away ("$-5" is -5, "-$5" is 5).
std::vector<Decimal> find_numbers(std::string_view text);

std::optional<Decimal> first_number(std::string_view text);
std::optional<Decimal> last_number(std::string_view text);

}  // namespace hone::launcher
