#pragma once

#include <c10/core/Device.h>

#include <memory>
#include <string>

#include "hone/core/gradient_reducer.hpp"
#include "hone/core/training/trainer_options.hpp"
#include "hone/launcher/session.hpp"

namespace hone::launcher {

/// Where models of this session are.
at::Device torch_device(Session& session);

/// The library of float32 matrix products on this session's device, chosen where there is a choice:
/// see choose_matmul_library(). Collective.
std::string choose_products(Session& session);

/// How this session's ranks sum gradients, as the options say. It needs the session for as long as
/// it lives.
std::unique_ptr<GradientReducer> make_reducer(Session& session, const TrainerOptions& options);

}  // namespace hone::launcher
