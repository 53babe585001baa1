#include "file_io.hpp"

#include <fcntl.h>

#include <algorithm>
#include <cerrno>
#include <system_error>
#include <utility>

namespace hone::checkpoints::detail {
namespace {

template <typename Result>
Result checked(Result result, std::string_view what, const std::filesystem::path& path) {
  if (result < 0) throw file_error(what, path, static_cast<int>(-result));
  return result;
}

}  // namespace

CheckpointError file_error(std::string_view what, const std::filesystem::path& path,
                           int error_number) {
  const bool no_space = error_number == ENOSPC || error_number == EDQUOT;
  return CheckpointError{"cannot " + std::string{what} + ' ' + path.string() + ": " +
                             std::generic_category().message(error_number) + " (errno " +
                             std::to_string(error_number) + ')',
                         no_space ? ExitCode::RunHeld : ExitCode::Io};
}

void File::Release::operator()(int fd) const { checked(files->close(fd), "close", path); }

File::File(FileOps& files, std::filesystem::path path, int flags, std::string_view what)
    : files_(&files),
      path_(std::move(path)),
      fd_(checked(files.open(path_, flags), what, path_), Release{&files, path_}) {}

File File::create(FileOps& files, const std::filesystem::path& path) {
  return File{files, path, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW, "create"};
}

File File::open(FileOps& files, const std::filesystem::path& path) {
  // A pipe in the place of a file would be waited for.
  return File{files, path, O_RDONLY | O_NOFOLLOW | O_NONBLOCK, "open"};
}

File File::open_directory(FileOps& files, const std::filesystem::path& path) {
  return File{files, path, O_RDONLY | O_DIRECTORY, "open the folder"};
}

void File::allocate(std::int64_t bytes) {
  checked(files_->allocate(fd_.get(), bytes), "reserve " + std::to_string(bytes) + " bytes for",
          path_);
}

void File::write_at(std::span<const std::byte> bytes, std::int64_t offset) {
  while (!bytes.empty()) {
    const auto part = bytes.first(std::min(bytes.size(), kChunkBytes));
    const auto written = checked(files_->pwrite(fd_.get(), part, offset), "write", path_);
    if (written == 0) throw file_error("write", path_, EIO);
    bytes = bytes.subspan(static_cast<std::size_t>(written));
    offset += written;
  }
}

void File::read_at(std::span<std::byte> bytes, std::int64_t offset) const {
  while (!bytes.empty()) {
    const auto part = bytes.first(std::min(bytes.size(), kChunkBytes));
    const auto count = checked(files_->pread(fd_.get(), part, offset), "read", path_);
    if (count == 0) {
      throw CheckpointError{path_.string() + " ends at byte " + std::to_string(offset) + ", " +
                            std::to_string(bytes.size()) + " bytes are missing"};
    }
    bytes = bytes.subspan(static_cast<std::size_t>(count));
    offset += count;
  }
}

std::int64_t File::size() const { return checked(files_->size(fd_.get()), "stat", path_); }

void File::sync() { checked(files_->fsync(fd_.get()), "sync", path_); }

void File::close() { fd_.close(); }

void write_new_file(FileOps& files, const std::filesystem::path& path, std::string_view text) {
  File file = File::create(files, path);
  file.write_at(std::as_bytes(std::span{text.data(), text.size()}), 0);
  file.sync();
  file.close();
}

std::string read_text_file(FileOps& files, const std::filesystem::path& path,
                           std::int64_t max_bytes) {
  const File file = File::open(files, path);
  const auto size = file.size();
  if (size > max_bytes) {
    throw CheckpointError{path.string() + " has " + std::to_string(size) +
                          " bytes, more than the " + std::to_string(max_bytes) +
                          " it can sensibly have"};
  }
  std::string text(static_cast<std::size_t>(size), '\0');
  file.read_at(std::as_writable_bytes(std::span{text.data(), text.size()}), 0);
  return text;
}

void sync_directory(FileOps& files, const std::filesystem::path& path) {
  File file = File::open_directory(files, path);
  file.sync();
  file.close();
}

void rename(FileOps& files, const std::filesystem::path& from, const std::filesystem::path& to) {
  checked(files.rename(from, to), "rename to " + to.filename().string(), from);
}

void make_directory(FileOps& files, const std::filesystem::path& path) {
  checked(files.make_directory(path), "create the folder", path);
}

void ensure_directory(FileOps& files, const std::filesystem::path& path) {
  const int result = files.make_directory(path);
  if (result == -EEXIST) return;
  const auto parent = path.parent_path();
  if (result == -ENOENT && !parent.empty() && parent != path) {
    ensure_directory(files, parent);
    ensure_directory(files, path);
    return;
  }
  checked(result, "create the folder", path);
  sync_directory(files, parent.empty() ? "." : parent);
}

std::vector<DirectoryEntry> list_directory(FileOps& files, const std::filesystem::path& path) {
  std::vector<DirectoryEntry> entries;
  checked(files.list(path, entries), "list", path);
  std::sort(entries.begin(), entries.end(),
            [](const auto& left, const auto& right) { return left.name < right.name; });
  return entries;
}

void remove_tree(FileOps& files, const std::filesystem::path& path) {
  for (const auto& entry : list_directory(files, path)) {
    if (entry.kind == EntryKind::Directory) {
      remove_tree(files, path / entry.name);
    } else {
      checked(files.unlink(path / entry.name), "remove", path / entry.name);
    }
  }
  checked(files.remove_directory(path), "remove the folder", path);
}

}  // namespace hone::checkpoints::detail
