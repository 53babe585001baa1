#include "hone/distributed/nccl_api.hpp"

#include <dlfcn.h>

#include <string>

#include "hone/core/error.hpp"

namespace hone::distributed {
namespace {

void* open_library(const std::filesystem::path& path) {
  // Every symbol now, none of them for other libraries: a second NCCL in the process stays apart.
  // For good: threads of NCCL's own, which serve an id or hang in an abort, outlive what uses it.
  void* handle = dlopen(path.c_str(), RTLD_NOW | RTLD_LOCAL | RTLD_NODELETE);
  if (handle == nullptr) {
    const char* reason = dlerror();
    throw LaunchError{"cannot load NCCL from \"" + path.string() +
                      "\": " + (reason != nullptr ? reason : "unknown reason") +
                      ". Name a libnccl.so.2 that this machine can load"};
  }
  return handle;
}

/// Fills function pointers by name and remembers the names that are not there.
class SymbolReader {
 public:
  explicit SymbolReader(void* library) : library_(library) {}

  template <typename Function>
  void read(const char* name, Function*& function) {
    function = reinterpret_cast<Function*>(dlsym(library_, name));
    if (function == nullptr) missing_ += (missing_.empty() ? "" : ", ") + std::string{name};
  }

  const std::string& missing() const { return missing_; }

 private:
  void* library_;
  std::string missing_;
};

std::string version_text(int version) {
  return std::to_string(version / 10000) + "." + std::to_string(version / 100 % 100) + "." +
         std::to_string(version % 100);
}

/// Before 2.9 the code was major * 1000 + minor * 100 + patch.
std::string legacy_version_text(int version) {
  return std::to_string(version / 1000) + "." + std::to_string(version / 100 % 10) + "." +
         std::to_string(version % 100);
}

/// What is wrong with the library's version, or nothing.
std::string version_problem(int version) {
  if (version >= kMinNcclVersion) return {};
  return "its version is " +
         (version < 10000 ? legacy_version_text(version) : version_text(version)) + ", " +
         version_text(kMinNcclVersion) + " or later is needed";
}

}  // namespace

NcclApi load_nccl(const std::filesystem::path& path) {
  NcclApi api;
  NcclResult (*get_version)(int*) = nullptr;
  SymbolReader symbols{open_library(path)};
  symbols.read("ncclGetVersion", get_version);
  symbols.read("ncclGetUniqueId", api.get_unique_id);
  symbols.read("ncclCommInitRankConfig", api.comm_init_rank_config);
  symbols.read("ncclCommFinalize", api.comm_finalize);
  symbols.read("ncclCommDestroy", api.comm_destroy);
  symbols.read("ncclCommAbort", api.comm_abort);
  symbols.read("ncclCommGetAsyncError", api.comm_get_async_error);
  symbols.read("ncclGetErrorString", api.get_error_string);
  symbols.read("ncclGetLastError", api.get_last_error);
  symbols.read("ncclGroupStart", api.group_start);
  symbols.read("ncclGroupEnd", api.group_end);
  symbols.read("ncclAllReduce", api.all_reduce);
  symbols.read("ncclBroadcast", api.broadcast);
  symbols.read("ncclAllGather", api.all_gather);
  symbols.read("ncclReduceScatter", api.reduce_scatter);

  std::string problems;
  if (get_version != nullptr) {
    if (get_version(&api.version) == NcclResult::Success) {
      problems = version_problem(api.version);
    } else {
      problems = "ncclGetVersion fails";
    }
  }
  if (!symbols.missing().empty()) {
    problems += (problems.empty() ? "" : "; ") + ("it lacks " + symbols.missing());
  }
  if (!problems.empty()) {
    throw LaunchError{"the NCCL library \"" + path.string() + "\" cannot be used: " + problems +
                      ". Name another libnccl.so.2"};
  }
  return api;
}

}  // namespace hone::distributed
