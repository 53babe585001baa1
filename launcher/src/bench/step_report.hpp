#pragma once

#include <array>
#include <cstdint>
#include <nlohmann/json_fwd.hpp>
#include <string>
#include <vector>

#include "bench/least_work.hpp"
#include "bench/op_profile.hpp"
#include "hone/core/training/phase_clock.hpp"

namespace hone::launcher {

/// What updates of one batch took.
struct MeasuredUpdates {
  std::int64_t tokens = 0;                  ///< of each
  std::vector<double> seconds;              ///< of each
  std::array<double, kNumPhases> phases{};  ///< seconds of all, summed
  std::int64_t page_faults = 0;             ///< of all
  std::int64_t peak_memory = 0;             ///< bytes
  /// Seconds from the start of the process to the end of the update before these.
  double first_step_from_start = 0.0;
  LeastWork least;  ///< of an update on one rank
};

/// The report of `hone bench step`; with a profile of the updates (null: none) also where their
/// time goes, and what each row takes at least: products and the memory's bandwidth are measured for
/// that, so the profile must listen no more.
nlohmann::ordered_json step_report(const MeasuredUpdates& updates, const OpProfile* profile);

/// The report for people: a line, and tables where there was a profile.
std::string step_text(const nlohmann::ordered_json& report);

}  // namespace hone::launcher
