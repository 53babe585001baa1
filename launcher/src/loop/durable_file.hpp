#pragma once

#include <filesystem>
#include <string>
#include <string_view>

#include "hone/core/error.hpp"

namespace hone::launcher {

/// "runs/a/config.yaml: writing failed: No space left on device", with the exit code that fits:
/// RunHeld where there is no space, Io otherwise.
Error file_error(const std::filesystem::path& path, std::string_view what, int error_number);

/// Writes all of `text` to an open descriptor; returns 0 or the errno.
int write_all(int fd, std::string_view text);

/// Replaces a file by one with this text: written beside it, synced, renamed, the folder synced.
/// After a crash at any moment the old file or the new one is there, whole.
/// Throws: file_error(); the old file is then untouched.
void write_durably(const std::filesystem::path& path, std::string_view text);

}  // namespace hone::launcher
