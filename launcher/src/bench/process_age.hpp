#pragma once

namespace hone::launcher {

/// How long this process runs, loading of its libraries included; 0 where the kernel does not say.
double seconds_since_start();

}  // namespace hone::launcher
