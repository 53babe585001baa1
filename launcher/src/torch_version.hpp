#pragma once

namespace hone::launcher {

/// The LibTorch that this program was compiled with, e.g. "2.15.0"; starts nothing.
const char* torch_version();

}  // namespace hone::launcher
