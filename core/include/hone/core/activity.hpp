#pragma once

#include <string_view>

namespace hone {

/// Told what a rank turns to, for whoever must say what it was doing when others waited for it.
/// Thread-safety: one thread tells.
class Activity {
 public:
  virtual ~Activity() = default;

  /// `phase` lasts until the next one. It must outlive the activity: a literal. `is_regular`: it
  /// takes about as long every time, so that one that takes much longer is suspect.
  virtual void enter(std::string_view phase, bool is_regular = false) = 0;
};

}  // namespace hone
