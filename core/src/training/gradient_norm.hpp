#pragma once

#include <span>

#include "hone/core/model/parameter_store.hpp"

namespace hone::detail {

/// L2 norm of the gradients in `slices`; not finite where one of them is not. One wait for the
/// device.
double norm_of_gradients(const ParameterStore& parameters, std::span<const ParameterSlice> slices);

}  // namespace hone::detail
