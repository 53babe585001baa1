#include "hone/core/hf/model_folder.hpp"

#include <algorithm>
#include <cctype>
#include <cerrno>
#include <cstring>
#include <fstream>
#include <sstream>

#include "hone/core/error.hpp"

namespace hone {
namespace {

bool is_hub_name(std::string_view part) {
  const auto allowed = [](unsigned char c) {
    return std::isalnum(c) || c == '-' || c == '_' || c == '.';
  };
  return !part.empty() && part.front() != '.' && std::all_of(part.begin(), part.end(), allowed);
}

/// "owner/name", where no folder of that owner's name is in sight.
bool looks_like_hub_id(const std::filesystem::path& folder) {
  const std::string text = folder.string();
  const auto slash = text.find('/');
  if (slash == std::string::npos) return false;
  const std::string_view view{text};
  return is_hub_name(view.substr(0, slash)) && is_hub_name(view.substr(slash + 1)) &&
         !std::filesystem::exists(text.substr(0, slash));
}

}  // namespace

std::string_view names_of(ModelFiles files) {
  return files == ModelFiles::Config ? "config.json"
                                     : "config.json, tokenizer.json and model.safetensors";
}

void require_model_folder(const std::filesystem::path& folder, ModelFiles files) {
  const std::string held = "pass the folder that holds " + std::string{names_of(files)};
  std::error_code error;
  const auto status = std::filesystem::status(folder, error);
  if (std::filesystem::is_directory(status)) return;
  const std::string name = '"' + folder.string() + '"';
  if (std::filesystem::exists(status)) {
    throw MissingInputError{"model folder " + name +
                            " is a file; " + held};
  }
  if (looks_like_hub_id(folder)) {
    const std::string id = folder.string();
    const std::string target = folder.filename().string();
    throw MissingInputError{"model folder " + name +
                            " does not exist. It looks like a hub id; hone reads local folders "
                            "and downloads nothing. Fetch it with\n  hf download " +
                            id + (files == ModelFiles::Config ? " config.json" : "") +
                            " --local-dir " + target + "\nand pass " + target};
  }
  throw MissingInputError{"model folder " + name + " does not exist (looked from " +
                          std::filesystem::current_path(error).string() + "); " + held};
}

std::string read_text_file(const std::filesystem::path& file) {
  if (!std::filesystem::exists(file)) {
    throw MissingInputError{file.string() + " does not exist"};
  }
  std::ifstream stream{file, std::ios::binary};
  std::ostringstream text;
  // Inserting an empty file sets failbit on the target, which is not a failure to read.
  if (stream && stream.peek() != std::ifstream::traits_type::eof()) text << stream.rdbuf();
  if (stream.bad() || !text || !stream.is_open() || std::filesystem::is_directory(file)) {
    throw InputError{file.string() + " cannot be read: " + std::strerror(errno)};
  }
  return std::move(text).str();
}

}  // namespace hone
