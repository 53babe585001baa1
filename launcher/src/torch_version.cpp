#include "torch_version.hpp"

#include <torch/headeronly/version.h>

namespace hone::launcher {

const char* torch_version() { return TORCH_VERSION; }

}  // namespace hone::launcher
