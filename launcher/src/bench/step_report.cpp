#include "bench/step_report.hpp"

#include <algorithm>
#include <cstdio>
#include <functional>
#include <map>
#include <nlohmann/json.hpp>
#include <string>
#include <string_view>
#include <utility>

#include "bench/model_bench.hpp"
#include "bench/read_bandwidth.hpp"

namespace hone::launcher {
namespace {

using nlohmann::ordered_json;

/// Seconds that each row of an update takes at least; those that are not here, none.
std::map<std::string_view, double> floors_of(const MeasuredUpdates& measured,
                                             const OpProfile& profile) {
  const double products = floor_of(profile.products());
  const double operations_per_second = operations_of(profile.products()) / products;
  const double bandwidth = read_bandwidth(at::kCPU);
  const auto& least = measured.least;
  return {{"products", products / static_cast<double>(measured.seconds.size())},
          {"attention", least.attention_operations / operations_per_second},
          {"loss", least.loss_bytes / bandwidth},
          {"elementwise", least.elementwise_bytes / bandwidth},
          {"optimizer", least.optimizer_bytes / bandwidth},
          {"reduce", least.reduce_bytes / bandwidth}};
}

/// What one update takes, by what it is for. "floor": what that takes at least.
ordered_json rows_of(const MeasuredUpdates& measured, const OpProfile& profile) {
  const auto updates = static_cast<double>(measured.seconds.size());
  const auto of = [&](Phase phase) {
    return measured.phases[static_cast<std::size_t>(phase)] / updates;
  };
  auto rows = ordered_json::array();
  double in_operators = 0.0;
  for (std::size_t work = 0; work < kNumWorks; ++work) {
    const double seconds = profile.seconds()[work] / updates;
    in_operators += seconds;
    rows.push_back({{"what", kWorkNames[work]},
                    {"seconds", seconds},
                    {"operators", static_cast<double>(profile.calls()[work]) / updates}});
  }
  rows.push_back({{"what", "dispatch"},  // autograd and whatever else is between operators
                  {"seconds", of(Phase::Forward) + of(Phase::Backward) - in_operators}});
  for (const auto phase : {Phase::Optimizer, Phase::Reduce, Phase::Data, Phase::Evaluate}) {
    const auto name = kPhaseNames[static_cast<std::size_t>(phase)];
    rows.push_back({{"what", name}, {"seconds", of(phase)}});
  }
  const auto floors = floors_of(measured, profile);
  for (auto& row : rows) {
    const auto found = floors.find(row["what"].get<std::string>());
    row["floor"] = found == floors.end() ? 0.0 : found->second;
  }
  return rows;
}

/// The operators that take longest, of one update.
ordered_json heaviest(const OpProfile& profile, double updates) {
  constexpr std::size_t kMost = 12;
  std::vector<std::pair<double, std::string>> all;
  for (const auto& [name, total] : profile.operators()) all.emplace_back(total.seconds, name);
  std::ranges::sort(all, std::greater{});
  all.resize(std::min(all.size(), kMost));
  auto list = ordered_json::array();
  for (const auto& [seconds, name] : all) {
    const auto calls = static_cast<double>(profile.operators().at(name).calls);
    list.push_back(
        {{"operator", name}, {"seconds", seconds / updates}, {"calls", calls / updates}});
  }
  return list;
}

std::string summary_of(const ordered_json& report) {
  char line[256];
  std::snprintf(line, sizeof line,
                "an update of %lld tokens: %.3f s (%.3f to %.3f), %.0f tokens/s, "
                "peak memory %.2f GB, %lld page faults, products by %s\n",
                report["tokens"].get<long long>(), report["seconds"].get<double>(),
                report["min_seconds"].get<double>(), report["max_seconds"].get<double>(),
                report["tokens_per_second"].get<double>(),
                report["peak_memory"].get<double>() * 1e-9,
                report["page_faults"].get<long long>(),
                report["products_by"].get<std::string>().c_str());
  return line;
}

std::string table_of(const ordered_json& rows, double total) {
  std::string text = "what          seconds    share   at least        gap   operators\n";
  for (const auto& row : rows) {
    const double seconds = row["seconds"];
    const double floor = row["floor"];
    char line[128];
    std::snprintf(line, sizeof line, "%-11s %9.4f  %5.1f %%  %9.4f  %9.4f",
                  row["what"].get<std::string>().c_str(), seconds, 100 * seconds / total, floor,
                  seconds - floor);
    text += line;
    if (row.contains("operators")) {
      std::snprintf(line, sizeof line, "  %10.0f", row["operators"].get<double>());
      text += line;
    }
    text += '\n';
  }
  return text;
}

std::string list_of(const ordered_json& operators) {
  std::string text = "operators that take longest\n";
  for (const auto& entry : operators) {
    char line[160];
    std::snprintf(line, sizeof line, "  %9.4f  %6.0f x %s\n", entry["seconds"].get<double>(),
                  entry["calls"].get<double>(), entry["operator"].get<std::string>().c_str());
    text += line;
  }
  return text;
}

}  // namespace

ordered_json step_report(const MeasuredUpdates& updates, const OpProfile* profile) {
  const auto count = static_cast<std::int64_t>(updates.seconds.size());
  auto report = speed_of(updates.tokens, updates.seconds);
  report.update({{"peak_memory", updates.peak_memory},
                 {"page_faults", updates.page_faults / count},
                 {"first_step_from_start", updates.first_step_from_start}});
  if (profile != nullptr) {
    report["rows"] = rows_of(updates, *profile);
    report["operators"] = heaviest(*profile, static_cast<double>(count));
  }
  return report;
}

std::string step_text(const ordered_json& report) {
  const auto summary = summary_of(report);
  if (!report.contains("rows")) return summary;
  return summary + table_of(report["rows"], report["seconds"].get<double>()) +
         list_of(report["operators"]);
}

}  // namespace hone::launcher
