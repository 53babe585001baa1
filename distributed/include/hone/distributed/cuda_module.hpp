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
/// `index`: this rank's among the ranks of its node; beyond the number of GPUs that this process
/// sees it begins again with the first: a launcher may show each rank its own GPU alone. Whether two
/// ranks came to the same one is for devices_are_shared() to find.
/// Throws: LaunchError where the module or the driver cannot be had, or there is no GPU.
std::unique_ptr<Device> open_cuda_device(const std::filesystem::path& module, int index);

}  // namespace hone::distributed
