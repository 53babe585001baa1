#pragma once

namespace hone {
class LanguageModel;
}

namespace hone::launcher {

/// Small random numbers for all parameters, the same on every rank, device and number of threads:
/// how long a product takes does not depend on them.
void draw_parameters(LanguageModel& model);

}  // namespace hone::launcher
