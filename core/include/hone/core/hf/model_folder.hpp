#pragma once

#include <filesystem>
#include <string>
#include <string_view>

namespace hone {

/// Checks that `folder` is a folder.
/// Throws: MissingInputError; where the argument looks like a hub id ("owner/name") the message
/// says that hone reads local folders and how to download one.
void require_model_folder(const std::filesystem::path& folder);

/// The whole of a text file, as bytes.
/// Throws: MissingInputError where it does not exist, InputError where it cannot be read.
std::string read_text_file(const std::filesystem::path& file);

}  // namespace hone
