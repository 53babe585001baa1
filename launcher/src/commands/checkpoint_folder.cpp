#include "commands/checkpoint_folder.hpp"

#include "hone/checkpoints/inspect.hpp"
#include "hone/core/error.hpp"

namespace hone::launcher {
namespace {

void require_folder(const std::filesystem::path& folder) {
  if (std::filesystem::is_directory(folder)) return;
  throw MissingInputError{folder.string() + " is not a folder; pass checkpoint-N of a run, or "
                                            "the run directory"};
}

}  // namespace

void require_folder_to_repair(const std::filesystem::path& folder) {
  require_folder(folder);
  if (!checkpoints::has_leftovers(folder)) require_checkpoint_folder(folder);
}

void require_checkpoint_folder(const std::filesystem::path& folder) {
  require_folder(folder);
  if (std::filesystem::exists(folder / "manifest.json") ||
      !checkpoints::list_checkpoints(folder).empty()) {
    return;
  }
  throw InputError{folder.string() + " is no checkpoint (it has no manifest.json) and no run "
                                     "directory that holds one"};
}

}  // namespace hone::launcher
