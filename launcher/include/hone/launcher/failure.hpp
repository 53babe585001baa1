#pragma once

#include <exception>
#include <filesystem>
#include <string>

namespace hone::launcher {

/// Why a rank leaves without having finished.
struct Failure {
  int code = 0;
  std::string message;
};

/// Exit code and words for any exception. Errors of hone keep theirs; memory that ran out is 71, a
/// full disk 73, other operating system errors 74, and everything else is a bug: 70.
Failure describe_failure(const std::exception_ptr& error);

/// The one block that a run prints: what, where, what to do, exit code, log. `who` is a tag such as
/// "[rank 1 @ node17] " or empty; `log_file` may be empty.
std::string error_block(const Failure& failure, const std::string& who,
                        const std::filesystem::path& log_file);

}  // namespace hone::launcher
