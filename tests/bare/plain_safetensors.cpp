// In place of core/hf, which needs Rust: safetensors files of tests, which are whole and small.
// Nothing is checked here.
#include <cstring>
#include <fstream>
#include <iterator>
#include <memory>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "hone/core/error.hpp"
#include "hone/core/hf/safetensors.hpp"

namespace hone {
namespace {

const char* type_name(DType dtype) { return dtype == DType::Float32 ? "F32" : "F64"; }

std::filesystem::path weights_of(const std::filesystem::path& folder) {
  return folder / "model.safetensors";
}

}  // namespace

struct SafetensorsFolder::State {
  std::string file;
  std::vector<SafetensorsEntry> entries;
};

SafetensorsFolder::SafetensorsFolder(const std::filesystem::path& folder)
    : state_(std::make_unique<State>()) {
  std::ifstream stream{weights_of(folder), std::ios::binary};
  state_->file.assign(std::istreambuf_iterator<char>{stream}, {});
  std::uint64_t header = 0;
  if (state_->file.size() < sizeof header) throw MissingInputError{folder.string() + ": no weights"};
  std::memcpy(&header, state_->file.data(), sizeof header);
  const auto data = std::as_bytes(std::span{state_->file}).subspan(sizeof header + header);
  const auto table = nlohmann::json::parse(state_->file.substr(sizeof header, header));
  for (const auto& [name, tensor] : table.items()) {
    const std::size_t begin = tensor["data_offsets"][0], end = tensor["data_offsets"][1];
    state_->entries.push_back({name, tensor["dtype"] == "F32" ? DType::Float32 : DType::Float64,
                               tensor["shape"], data.subspan(begin, end - begin)});
  }
}

SafetensorsFolder::~SafetensorsFolder() = default;
SafetensorsFolder::SafetensorsFolder(SafetensorsFolder&&) noexcept = default;
SafetensorsFolder& SafetensorsFolder::operator=(SafetensorsFolder&&) noexcept = default;

std::span<const SafetensorsEntry> SafetensorsFolder::entries() const { return state_->entries; }
std::span<const UnsupportedTensor> SafetensorsFolder::unsupported() const { return {}; }

bool SafetensorsFolder::contains(std::string_view name) const {
  for (const auto& entry : state_->entries) {
    if (entry.name == name) return true;
  }
  return false;
}

const SafetensorsEntry& SafetensorsFolder::at(std::string_view name) const {
  for (const auto& entry : state_->entries) {
    if (entry.name == name) return entry;
  }
  throw InputError{"no tensor " + std::string{name}};
}

void write_safetensors(const std::filesystem::path& folder,
                       std::span<const SafetensorsEntry> tensors, std::int64_t) {
  nlohmann::json header;
  std::size_t offset = 0;
  for (const auto& tensor : tensors) {
    header[tensor.name] = {{"dtype", type_name(tensor.dtype)},
                           {"shape", tensor.shape},
                           {"data_offsets", {offset, offset + tensor.bytes.size()}}};
    offset += tensor.bytes.size();
  }
  const auto text = header.dump();
  const std::uint64_t size = text.size();
  std::ofstream stream{weights_of(folder), std::ios::binary};
  stream.write(reinterpret_cast<const char*>(&size), sizeof size) << text;
  for (const auto& tensor : tensors) {
    stream.write(reinterpret_cast<const char*>(tensor.bytes.data()),
                 static_cast<std::streamsize>(tensor.bytes.size()));
  }
}

}  // namespace hone
