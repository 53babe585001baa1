#pragma once

#include <sys/resource.h>

namespace hone::testing {

/// While it lives, this process writes no file beyond `bytes`: as `ulimit -f` has it, or a full disk.
/// The write that crosses the limit is cut short; the next one raises SIGXFSZ, and where that is
/// ignored fails with EFBIG.
class FileSizeLimit {
 public:
  explicit FileSizeLimit(rlim_t bytes) {
    ::getrlimit(RLIMIT_FSIZE, &before_);
    const rlimit small{bytes, before_.rlim_max};
    ::setrlimit(RLIMIT_FSIZE, &small);
  }
  ~FileSizeLimit() { ::setrlimit(RLIMIT_FSIZE, &before_); }
  FileSizeLimit(const FileSizeLimit&) = delete;
  FileSizeLimit& operator=(const FileSizeLimit&) = delete;

 private:
  rlimit before_{};
};

}  // namespace hone::testing
