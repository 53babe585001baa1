#pragma once

#include <optional>
#include <string>

namespace hone {

/// The numbers that an option takes; without bounds, all finite ones.
struct Range {
  std::optional<double> min = {};
  std::optional<double> max = {};
  bool min_open = false;  ///< true: `min` itself is not taken
  bool max_open = false;

  bool contains(double value) const;
  /// " > 0", " from 0 to 1", " >= 1" with a leading space, or nothing: to stand behind "a number".
  std::string describe() const;
};

/// (0, inf)
Range positive();
/// [0, inf)
Range non_negative();
/// [min, inf)
Range at_least(double min);
/// [min, max]
Range between(double min, double max);
/// (min, max]: fractions where nothing is no choice.
Range above_up_to(double min, double max);
/// [min, max): rates where everything is no choice.
Range from_below(double min, double max);

}  // namespace hone
