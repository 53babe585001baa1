#pragma once

#include "hone/core/model/parameter_store.hpp"

namespace hone::detail {

/// L2 norm over all gradients; not finite where one of them is not. One wait for the device.
double norm_of_gradients(const ParameterStore& parameters);

}  // namespace hone::detail
