#pragma once

#include <unistd.h>

#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <string>
#include <string_view>

#include "hone/core/error.hpp"

/// What libFuzzer calls with bytes of its own making.
extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size);

namespace hone::fuzz {

inline std::string_view text_of(const std::uint8_t* data, std::size_t size) {
  return {reinterpret_cast<const char*>(data), size};
}

/// Bad bytes are refused by an error of hone's; anything else that is thrown ends the process.
template <typename Parse>
int expect_refusal_or_result(const Parse& parse) {
  try {
    parse();
  } catch (const Error&) {
  }
  return 0;
}

/// A folder of this process, in memory, with the bytes as one file in it.
inline std::filesystem::path folder_with(std::string_view name, std::string_view bytes) {
  struct Folder {
    Folder() {
      if (::mkdtemp(pattern.data()) == nullptr) std::abort();
    }
    ~Folder() { std::filesystem::remove_all(pattern); }
    std::string pattern = "/dev/shm/hone-fuzz-XXXXXX";
  };
  static const Folder folder;
  const auto file = std::filesystem::path{folder.pattern} / name;
  std::filesystem::create_directories(file.parent_path());
  std::ofstream{file, std::ios::binary | std::ios::trunc} << bytes;
  return folder.pattern;
}

}  // namespace hone::fuzz
