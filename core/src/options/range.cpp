#include "hone/core/options/range.hpp"

#include "hone/core/options/detail/option_value.hpp"

namespace hone {
namespace {

std::string number(double value) {
  std::string text = detail::print_value(value);
  if (text.ends_with(".0")) text.resize(text.size() - 2);
  return text;
}

}  // namespace

bool Range::contains(double value) const {
  if (min && (min_open ? value <= *min : value < *min)) return false;
  if (max && (max_open ? value >= *max : value > *max)) return false;
  return true;
}

std::string Range::describe() const {
  if (min && max && !min_open && !max_open) {
    return " from " + number(*min) + " to " + number(*max);
  }
  std::string text;
  if (min) text += (min_open ? " > " : " >= ") + number(*min);
  if (min && max) text += " and";
  if (max) text += (max_open ? " < " : " <= ") + number(*max);
  return text;
}

Range positive() { return {.min = 0.0, .min_open = true}; }
Range non_negative() { return {.min = 0.0}; }
Range at_least(double min) { return {.min = min}; }
Range between(double min, double max) { return {.min = min, .max = max}; }
Range above_up_to(double min, double max) { return {.min = min, .max = max, .min_open = true}; }
Range from_below(double min, double max) { return {.min = min, .max = max, .max_open = true}; }

}  // namespace hone
