#pragma once

#include <cstddef>
#include <filesystem>
#include <span>
#include <string_view>

#include "hone/core/error.hpp"
#include "hone/core/files/file_descriptor.hpp"

namespace hone {

/// "runs/a/config.yaml: writing failed: No space left on device", with the exit code that fits:
/// RunHeld where there is no space, Io otherwise.
Error file_error(const std::filesystem::path& path, std::string_view what, int error_number);

/// Writes all bytes to an open descriptor; returns 0 or the errno.
int write_all(int fd, std::span<const std::byte> bytes);
inline int write_all(int fd, std::string_view text) {
  return write_all(fd, std::as_bytes(std::span{text}));
}

/// Makes renames and removals in `folder` durable. Throws: file_error().
void sync_folder(const std::filesystem::path& folder);

/// A file that is written beside its name and takes it only when complete: after a crash at any
/// moment the old file or the new one is there, whole. Move-only; an unpublished file is removed
/// when the object dies.
/// Throws: file_error().
class PublishedFile {
 public:
  /// Opens `file`.partial, replacing what a killed process may have left there. Throws Io where
  /// another process is writing the same file.
  explicit PublishedFile(std::filesystem::path file);
  ~PublishedFile();
  PublishedFile(PublishedFile&& other) noexcept;
  PublishedFile& operator=(PublishedFile&&) = delete;

  void write(std::span<const std::byte> bytes);
  void write(std::string_view text) { write(std::as_bytes(std::span{text})); }
  /// Syncs the contents, still under the other name.
  void finish();
  /// Renames; the folder has to be synced for the name to be durable.
  void publish();

  const std::filesystem::path& path() const { return file_; }

 private:
  std::filesystem::path partial() const;
  void open_alone();

  std::filesystem::path file_;
  FileDescriptor descriptor_;
  bool pending_ = true;  ///< the partial file is there and ours
};

/// Replaces a file by one with this text, durably. Throws: file_error(); the old file is then
/// untouched.
void write_durably(const std::filesystem::path& path, std::string_view text);

}  // namespace hone
