#pragma once

#include <filesystem>
#include <optional>

#include "hone/core/checkpoint_store.hpp"

namespace hone::testing {

/// The newest valid checkpoint, every byte of it read; none where there is none. Collective. Throws:
/// as load_newest().
inline std::optional<std::filesystem::path> find_newest(CheckpointStore& store) {
  std::optional<std::filesystem::path> newest;
  store.load_newest([&](const std::filesystem::path& checkpoint) { newest = checkpoint; });
  return newest;
}

}  // namespace hone::testing
