#pragma once

#include <filesystem>
#include <string>
#include <string_view>

namespace hone {

/// What of a model's folder is read.
enum class ModelFiles { All, Config };

/// "config.json, tokenizer.json and model.safetensors", or the first alone: for messages.
std::string_view names_of(ModelFiles files);

/// Checks that `folder` is a folder; of `files` only the messages speak.
/// Throws: MissingInputError; where the argument looks like a hub id ("owner/name") the message
/// says that hone reads local folders and how to download one.
void require_model_folder(const std::filesystem::path& folder, ModelFiles files = ModelFiles::All);

/// The whole of a text file, as bytes.
/// Throws: MissingInputError where it does not exist, InputError where it cannot be read.
std::string read_text_file(const std::filesystem::path& file);

}  // namespace hone
