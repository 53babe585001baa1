#include "job/evaluated_file.hpp"

#include "hone/core/error.hpp"

namespace hone::launcher {

void require_targets(const EvalStats& stats, const std::filesystem::path& file) {
  if (stats.target_weight > 0) return;
  throw InputError{file.string() +
                   ": no sample has a token to be evaluated on (all labels are -100, max_length "
                   "cuts them off, or their weights are 0)"};
}

}  // namespace hone::launcher
