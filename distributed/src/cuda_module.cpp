#include "hone/distributed/cuda_module.hpp"

#include <dlfcn.h>

#include <string>
#include <system_error>

#include "hone/core/error.hpp"

namespace hone::distributed {
namespace {

constexpr const char* kModuleName = "libhone_cuda.so";

using Open = Device*(int index, int* num_devices, std::string* problem);

Open* load(const std::filesystem::path& module) {
  // Never unloaded: LibTorch registers kernels and devices from it.
  void* handle = dlopen(module.c_str(), RTLD_NOW | RTLD_GLOBAL | RTLD_NODELETE);
  if (handle == nullptr) {
    const char* reason = dlerror();
    throw LaunchError{"the GPU module " + module.string() + " cannot be loaded: " +
                      (reason != nullptr ? reason : "unknown reason") +
                      ". It needs the CUDA libraries that LibTorch was built with (scripts/setup.sh "
                      "installs them where it sees a driver); --use_cpu computes on the CPU"};
  }
  auto* open = reinterpret_cast<Open*>(dlsym(handle, "hone_open_cuda_device"));
  if (open == nullptr) {
    throw LaunchError{module.string() + " is not hone's GPU module: build it with this hone"};
  }
  return open;
}

}  // namespace

std::filesystem::path find_cuda_module() {
  std::error_code ignored;
  const auto program = std::filesystem::read_symlink("/proc/self/exe", ignored).parent_path();
  const std::filesystem::path installed{HONE_INSTALL_LIBDIR};
  for (const auto& folder : {program, program.parent_path() / installed.filename(), installed}) {
    if (std::filesystem::exists(folder / kModuleName, ignored)) return folder / kModuleName;
  }
  return {};
}

std::unique_ptr<Device> open_cuda_device(const std::filesystem::path& module, int index) {
  auto* open = load(module);
  int num_devices = 0;
  std::string problem;
  std::unique_ptr<Device> device{open(index, &num_devices, &problem)};
  if (device == nullptr && problem.empty() && num_devices > 0) {
    device.reset(open(index % num_devices, &num_devices, &problem));
  }
  if (device != nullptr) return device;
  if (problem.empty()) problem = "this process sees none (CUDA_VISIBLE_DEVICES?)";
  throw LaunchError{"no GPU can be used: " + problem + "; --use_cpu computes on the CPU"};
}

}  // namespace hone::distributed
