// Preloaded: what asks for an NVIDIA driver finds one; README.md says why.
#include <dlfcn.h>
#include <sys/stat.h>

#include <cstring>

extern "C" {

int stat(const char* path, struct stat* status) {
  using Stat = int(const char*, struct stat*);
  static auto* const real = reinterpret_cast<Stat*>(dlsym(RTLD_NEXT, "stat"));
  if (std::strcmp(path, "/proc/driver/nvidia/version") == 0) path = "/proc/version";
  return real(path, status);
}

/// What older builds call for it: LibTorch's wheel, which brings a std::filesystem of its own.
int __xstat(int, const char* path, struct stat* status) { return stat(path, status); }

}  // extern "C"
