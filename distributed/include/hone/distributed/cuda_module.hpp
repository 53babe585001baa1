#pragma once

#include <filesystem>
#include <memory>

#include "hone/distributed/device.hpp"

namespace hone::distributed {

/// Where libhone_cuda.so is: beside this program, in the library folder beside that of the program,
/// or where hone was installed. Empty where it is nowhere.
std::filesystem::path find_cuda_module();

/// The GPU of this node with that index, from the module that has all the code for GPUs. Call it
/// before anything is computed: LibTorch looks for CUDA only once. The module stays loaded.
/// `index`: this rank's among the ranks of its node. `may_share`: ranks beyond the number of GPUs
/// begin again with the first.
/// Throws: LaunchError where the module or the driver cannot be had, or there are fewer GPUs.
std::unique_ptr<Device> open_cuda_device(const std::filesystem::path& module, int index,
                                         bool may_share);

}  // namespace hone::distributed
