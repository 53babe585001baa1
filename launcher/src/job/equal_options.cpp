#include "job/equal_options.hpp"

#include <set>

#include "hone/core/error.hpp"
#include "hone/core/options/changed_options.hpp"

namespace hone::launcher {
namespace {

bool may_differ(const std::string& option) {
  static const std::set<std::string> kOfMachine = {"num_threads", "bind_threads",
                                                   "control_interface"};
  return kOfMachine.contains(option);
}

std::string advice(const ChangedOption& change) {
  const auto theirs = as_flag(change.name, change.before);
  const auto other = as_flag(change.name, change.after);
  if (theirs.empty() || other.empty()) return "";
  return ", with " + theirs + " or " + other;
}

}  // namespace

void require_equal_options(Communicator& comm, const std::string& resolved_yaml) {
  const auto all = all_gather_strings(comm, resolved_yaml);
  for (std::size_t rank = 1; rank < all.size(); ++rank) {
    for (const auto& change : changed_options(all[0], all[rank])) {
      if (may_differ(change.name)) continue;
      throw ConfigError{change.name + " is " + change.after + " on rank " + std::to_string(rank) +
                        " and " + change.before + " on rank 0. Start all ranks alike" +
                        advice(change) + "; a YAML file must be the same on every node"};
    }
  }
}

}  // namespace hone::launcher
