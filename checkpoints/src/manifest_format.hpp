#pragma once

#include <string_view>

/// The frame of manifest.json that its writer and its parser share.
namespace hone::checkpoints::detail {

/// The text before this, from the first byte, is what the manifest's own digest covers.
inline constexpr std::string_view kDigestHead = ",\n\"manifest_sha256\": \"";
inline constexpr std::string_view kDigestTail = "\"\n}\n";

}  // namespace hone::checkpoints::detail
