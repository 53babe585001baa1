#include "script.hpp"

#include <cstdio>
#include <cstdlib>
#include <regex>

namespace hone::testing {
namespace {

Fault parse_fault(const std::string& text) {
  static const std::regex kFault{
      R"((?:r(\d+):)?(op\d+|group|id|init|finalize|abort):)"
      R"((?:(hang|block|corrupt)|(err|async|after)=([1-6])|slow=(\d+)ms))"};
  std::smatch match;
  if (!std::regex_match(text, match, kFault)) violation("FAKENCCL has no fault \"" + text + "\"");
  Fault fault{.rank = match[1].matched ? std::stoi(match[1]) : -1, .place = match[2]};
  if (match[3].matched) {
    fault.kind = match[3] == "hang"    ? FaultKind::Hang
                 : match[3] == "block" ? FaultKind::Block
                                       : FaultKind::Corrupt;
  } else if (match[4].matched) {
    fault.kind = match[4] == "err"     ? FaultKind::Error
                 : match[4] == "async" ? FaultKind::AsyncError
                                       : FaultKind::ErrorAfter;
    fault.error = static_cast<distributed::NcclResult>(std::stoi(match[5]));
  } else {
    fault.kind = FaultKind::Slow;
    fault.slow = std::chrono::milliseconds{std::stoi(match[6])};
  }
  return fault;
}

}  // namespace

Script::Script(std::string_view text) {
  while (!text.empty()) {
    const auto end = text.find(';');
    faults_.push_back(parse_fault(std::string{text.substr(0, end)}));
    text.remove_prefix(end == std::string_view::npos ? text.size() : end + 1);
  }
}

Fault Script::at(int rank, const std::string& place) const {
  for (const auto& fault : faults_) {
    if ((fault.rank == -1 || fault.rank == rank) && fault.place == place) return fault;
  }
  return {};
}

void violation(const std::string& what) {
  std::fprintf(stderr, "FAKE NCCL: %s\n", what.c_str());
  std::_Exit(99);
}

}  // namespace hone::testing
