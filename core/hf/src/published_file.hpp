#pragma once

#include <cstddef>
#include <filesystem>
#include <span>

namespace hone::detail {

/// A file that is written beside its name and takes it only when complete. Move-only; an
/// unpublished file is removed when the object dies.
/// Throws: Error (RunHeld) where there is no space, Error (Io) for other failures.
class PublishedFile {
 public:
  /// Opens `file`.partial, replacing what a killed process may have left there.
  explicit PublishedFile(std::filesystem::path file);
  ~PublishedFile();
  PublishedFile(PublishedFile&& other) noexcept;
  PublishedFile& operator=(PublishedFile&&) = delete;

  void write(std::span<const std::byte> bytes);
  /// Syncs and closes the contents, still under the other name.
  void finish();
  /// Renames; the folder has to be synced for the name to be durable.
  void publish();

  const std::filesystem::path& path() const { return file_; }

 private:
  std::filesystem::path partial() const;

  std::filesystem::path file_;
  int fd_ = -1;
  bool pending_ = true;  ///< the partial file is there and ours
};

/// Makes renames and removals in `folder` durable.
void sync_folder(const std::filesystem::path& folder);

}  // namespace hone::detail
