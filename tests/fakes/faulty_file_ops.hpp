#pragma once

#include <algorithm>
#include <functional>
#include <limits>
#include <map>
#include <mutex>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "hone/checkpoints/file_ops.hpp"

namespace hone::testing {

/// Thrown by a FaultyFileOps instead of ending the process. Not a std::exception, so that nothing
/// that handles errors handles it.
struct Killed {};

/// The real file system, except for one call. Calls are counted over all threads; reads count too.
/// Besides it keeps book of what was synced, so that a power cut can be played after the fact.
class FaultyFileOps : public checkpoints::FileOps {
 public:
  /// Every call works.
  FaultyFileOps() = default;

  /// Call number `call` (from 0) returns -error_number; later ones work. A write that fails has
  /// written half of its bytes.
  static FaultyFileOps failing(int call, int error_number) { return {call, error_number}; }

  /// Call number `call` and all later ones throw Killed and do nothing.
  static FaultyFileOps killed(int call) { return {call, 0}; }

  /// No read or write moves more than `bytes`.
  void limit_transfers(std::size_t bytes) { max_transfer_ = bytes; }

  /// The fault was reached.
  bool hit() const { return fault_at_ >= 0 && calls_ > fault_at_; }
  /// The call that the fault was in, as in "rename /a/b".
  std::string hit_call() const { return hit_call_; }

  bool has_synced(const std::filesystem::path& path) const { return synced_.contains(path); }

  /// What a power cut may do at worst: renames, new files and new folders that no sync of their
  /// folder followed are undone, files in new folders that were not synced after their last write
  /// are empty.
  void lose_what_was_not_synced() {
    for (auto undo = unsynced_.rbegin(); undo != unsynced_.rend(); ++undo) undo->second();
    unsynced_.clear();
    for (const auto& folder : new_folders_) lose_in(folder);
  }

  int open(const std::filesystem::path& path, int flags) override {
    return pass("open " + path.string(), [&] {
      const int fd = real_.open(path, flags);
      if (fd >= 0) paths_[fd] = path;
      return fd;
    });
  }
  int close(int fd) override {
    // The descriptor goes in any case: as on Linux where close fails, and as where a process ends.
    const std::string call = "close " + path_of(fd);
    const int result = real_.close(fd);
    return pass(call, [&] { return result; });
  }
  std::int64_t pwrite(int fd, std::span<const std::byte> bytes, std::int64_t offset) override {
    const auto part = bytes.first(std::min(bytes.size(), max_transfer_));
    const auto write = [&] {
      forget_sync(paths_[fd]);
      return real_.pwrite(fd, part, offset);
    };
    return pass("pwrite " + path_of(fd), write,
                [&] { real_.pwrite(fd, part.first(part.size() / 2), offset); });
  }
  std::int64_t pread(int fd, std::span<std::byte> bytes, std::int64_t offset) override {
    return pass("pread " + path_of(fd), [&] {
      return real_.pread(fd, bytes.first(std::min(bytes.size(), max_transfer_)), offset);
    });
  }
  int allocate(int fd, std::int64_t bytes) override {
    return pass("allocate " + path_of(fd), [&] { return real_.allocate(fd, bytes); });
  }
  std::int64_t size(int fd) override {
    return pass("size " + path_of(fd), [&] { return real_.size(fd); });
  }
  int fsync(int fd) override {
    return pass("fsync " + path_of(fd), [&] {
      note_sync(paths_[fd]);
      return real_.fsync(fd);
    });
  }
  int rename(const std::filesystem::path& from, const std::filesystem::path& to) override {
    return pass("rename " + from.string(), [&] {
      const int result = real_.rename(from, to);
      if (result == 0) {
        move_book(from, to);
        unsynced_.emplace_back(to.parent_path(), [this, from, to] {
          if (!std::filesystem::exists(to)) return;  // deleted since, and that may be durable
          std::filesystem::rename(to, from);
          move_book(to, from);
        });
      }
      return result;
    });
  }
  int make_directory(const std::filesystem::path& path) override {
    return pass("mkdir " + path.string(), [&] {
      const int result = real_.make_directory(path);
      if (result == 0) {
        new_folders_.push_back({path, {}, {}});
        unsynced_.emplace_back(path.parent_path(), [path] { std::filesystem::remove_all(path); });
      }
      return result;
    });
  }
  int unlink(const std::filesystem::path& path) override {
    return pass("unlink " + path.string(), [&] { return real_.unlink(path); });
  }
  int remove_directory(const std::filesystem::path& path) override {
    return pass("rmdir " + path.string(), [&] { return real_.remove_directory(path); });
  }
  int list(const std::filesystem::path& path,
           std::vector<checkpoints::DirectoryEntry>& entries) override {
    return pass("list " + path.string(), [&] { return real_.list(path, entries); });
  }

 private:
  /// A folder made through this object, and which of its entries are durable.
  struct Folder {
    std::filesystem::path path;
    std::set<std::string> durable_names;
    std::set<std::string> durable_contents;
  };

  FaultyFileOps(int call, int error_number) : fault_at_(call), error_number_(error_number) {}

  /// One call at a time, counted; `half` is what a faulty one still does.
  template <typename Call>
  auto pass(const std::string& what, Call call, const std::function<void()>& half = {})
      -> decltype(call()) {
    const std::lock_guard lock{mutex_};
    const int number = calls_++;
    if (fault_at_ < 0 || number < fault_at_) return call();
    if (number == fault_at_) {
      hit_call_ = what;
      if (half) half();
      if (error_number_ != 0) return -error_number_;
    } else if (error_number_ != 0) {
      return call();
    }
    throw Killed{};
  }

  std::string path_of(int fd) {
    const std::lock_guard lock{mutex_};
    return paths_[fd].string();
  }

  Folder* new_folder(const std::filesystem::path& path) {
    const auto found = std::find_if(new_folders_.begin(), new_folders_.end(),
                                    [&](const Folder& folder) { return folder.path == path; });
    return found == new_folders_.end() ? nullptr : &*found;
  }

  void note_sync(const std::filesystem::path& path) {
    synced_.insert(path);
    std::erase_if(unsynced_, [&](const auto& undo) { return undo.first == path; });
    if (Folder* folder = new_folder(path)) {
      for (const auto& entry : std::filesystem::directory_iterator{path}) {
        folder->durable_names.insert(entry.path().filename());
      }
    }
    if (Folder* folder = new_folder(path.parent_path())) {
      folder->durable_contents.insert(path.filename());
    }
  }

  void forget_sync(const std::filesystem::path& path) {
    if (Folder* folder = new_folder(path.parent_path())) {
      folder->durable_contents.erase(path.filename());
    }
  }

  void move_book(const std::filesystem::path& from, const std::filesystem::path& to) {
    if (Folder* folder = new_folder(from)) folder->path = to;
  }

  static void lose_in(const Folder& folder) {
    if (!std::filesystem::exists(folder.path)) return;
    std::vector<std::filesystem::path> lost;
    for (const auto& entry : std::filesystem::directory_iterator{folder.path}) {
      const std::string name = entry.path().filename();
      if (!entry.is_regular_file()) continue;
      if (!folder.durable_contents.contains(name)) std::filesystem::resize_file(entry.path(), 0);
      if (!folder.durable_names.contains(name)) lost.push_back(entry.path());
    }
    for (const auto& path : lost) std::filesystem::remove(path);
  }

  checkpoints::FileOps& real_ = checkpoints::real_file_ops();
  int fault_at_ = -1;
  int error_number_ = 0;
  std::size_t max_transfer_ = std::numeric_limits<std::size_t>::max();

  std::mutex mutex_;
  int calls_ = 0;
  std::string hit_call_;
  std::map<int, std::filesystem::path> paths_;
  std::set<std::filesystem::path> synced_;  ///< ever
  std::vector<Folder> new_folders_;
  /// The folder whose sync makes it durable, and how to undo it.
  std::vector<std::pair<std::filesystem::path, std::function<void()>>> unsynced_;
};

}  // namespace hone::testing
