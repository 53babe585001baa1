#include "hone/core/hf/safetensors.hpp"

#include <sys/stat.h>

#include <algorithm>
#include <cstring>
#include <list>
#include <numeric>

#include <gmock/gmock.h>
#include <nlohmann/json.hpp>

#include "core/hf_fixture.hpp"
#include "hone/core/error.hpp"

namespace hone {
namespace {

namespace fs = std::filesystem;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::UnorderedElementsAre;
using nlohmann::json;
using testing::message_of;
using testing::read_file;

class SafetensorsTest : public testing::FolderTest {
 protected:
  /// A tensor of counted bytes; what it views lives as long as the test.
  SafetensorsEntry tensor(std::string name, DType dtype, std::vector<std::int64_t> shape) {
    const auto count = std::accumulate(shape.begin(), shape.end(), std::int64_t{1},
                                       std::multiplies<std::int64_t>{});
    auto& bytes = memory_.emplace_back(static_cast<std::size_t>(count * size_of(dtype)));
    for (std::size_t i = 0; i < bytes.size(); ++i) {
      bytes[i] = static_cast<std::byte>(i * 7 + memory_.size());
    }
    return {std::move(name), dtype, std::move(shape), bytes};
  }

  /// Every type, a scalar and an empty tensor, not in name order.
  std::vector<SafetensorsEntry> mixed_tensors() {
    return {tensor("w.u8", DType::UInt8, {3}),       tensor("a.f32", DType::Float32, {2, 3}),
            tensor("h.f16", DType::Float16, {5}),    tensor("b.bf16", DType::BFloat16, {1, 1, 3}),
            tensor("scalar", DType::Float64, {}),    tensor("ids", DType::Int64, {2}),
            tensor("empty", DType::Float32, {0, 4}), tensor("quote\"é\n", DType::Float32, {1})};
  }

  std::vector<std::string> files() const {
    std::vector<std::string> names;
    for (const auto& entry : fs::directory_iterator{folder()}) {
      names.push_back(entry.path().filename().string());
    }
    return names;
  }

  /// A file of `header` and `data` zero bytes.
  void write_raw(const std::string& header, std::size_t data,
                 const std::string& name = "model.safetensors") {
    const auto length = static_cast<std::uint64_t>(header.size());
    std::string file(reinterpret_cast<const char*>(&length), sizeof length);
    write(name, file + header + std::string(data, '\0'));
  }

  std::string open_error() {
    return message_of<InputError>([&] { SafetensorsFolder{folder()}; });
  }

 private:
  std::list<std::vector<std::byte>> memory_;
};

void expect_equal(const SafetensorsFolder& read, std::vector<SafetensorsEntry> written) {
  std::sort(written.begin(), written.end(),
            [](const auto& a, const auto& b) { return a.name < b.name; });
  ASSERT_EQ(read.entries().size(), written.size());
  for (std::size_t i = 0; i < written.size(); ++i) {
    const auto& entry = read.entries()[i];
    EXPECT_EQ(entry.name, written[i].name);
    EXPECT_EQ(entry.dtype, written[i].dtype) << entry.name;
    EXPECT_EQ(entry.shape, written[i].shape) << entry.name;
    EXPECT_TRUE(std::ranges::equal(entry.bytes, written[i].bytes)) << entry.name;
  }
}

TEST_F(SafetensorsTest, ReadsWhatItWrote) {
  const auto tensors = mixed_tensors();
  write_safetensors(folder() / "new" / "model", tensors);
  const SafetensorsFolder read{folder() / "new" / "model"};
  expect_equal(read, tensors);
  EXPECT_TRUE(read.contains("ids"));
  EXPECT_FALSE(read.contains("id"));
  EXPECT_EQ(read.at("scalar").dtype, DType::Float64);
}

TEST_F(SafetensorsTest, WritesTheFormatsMetadataAndAlignedData) {
  write_safetensors(folder(), mixed_tensors());
  const std::string file = read_file(folder() / "model.safetensors");
  std::uint64_t length = 0;
  std::memcpy(&length, file.data(), sizeof length);
  const json header = json::parse(file.substr(8, length));
  EXPECT_EQ(header["__metadata__"], (json{{"format", "pt"}}));
  EXPECT_EQ(length % 8, 0);
  const SafetensorsFolder read{folder()};
  for (const auto& entry : read.entries()) {
    EXPECT_EQ(reinterpret_cast<std::uintptr_t>(entry.bytes.data()) % size_of(entry.dtype), 0)
        << entry.name;
  }
  EXPECT_THAT(files(), ElementsAre("model.safetensors")) << "nothing else is left";
}

TEST_F(SafetensorsTest, FollowsTheUmask) {
  const mode_t before = ::umask(022);
  write_safetensors(folder(), mixed_tensors());
  ::umask(before);
  struct stat info {};
  ASSERT_EQ(::stat((folder() / "model.safetensors").c_str(), &info), 0);
  EXPECT_EQ(info.st_mode & 0777, 0644U);
}

TEST_F(SafetensorsTest, CutsIntoShardsInTheGivenOrder) {
  const std::vector tensors{tensor("a", DType::Float32, {4}), tensor("b", DType::Float32, {4}),
                            tensor("large", DType::Float32, {100}),
                            tensor("c", DType::Float32, {2}), tensor("d", DType::UInt8, {1})};
  write_safetensors(folder(), tensors, 40);
  const json index = json::parse(read_file(folder() / "model.safetensors.index.json"));
  EXPECT_EQ(index["weight_map"], (json{{"large", "model-00001-of-00003.safetensors"},
                                       {"a", "model-00002-of-00003.safetensors"},
                                       {"b", "model-00002-of-00003.safetensors"},
                                       {"c", "model-00002-of-00003.safetensors"},
                                       {"d", "model-00003-of-00003.safetensors"}}))
      << "as huggingface_hub cuts: 32 + 8 bytes fill a shard, the large one stands alone";
}

TEST_F(SafetensorsTest, ReadsShards) {
  const auto tensors = mixed_tensors();
  write_safetensors(folder(), tensors, 20);
  EXPECT_GT(files().size(), 3U);
  expect_equal(SafetensorsFolder{folder()}, tensors);
  const json index = json::parse(read_file(folder() / "model.safetensors.index.json"));
  std::size_t total = 0;
  for (const auto& entry : tensors) total += entry.bytes.size();
  EXPECT_EQ(index["metadata"]["total_size"], total);
}

TEST_F(SafetensorsTest, ReplacesEarlierExports) {
  write("config.json", "{}");
  const auto first = mixed_tensors();
  const auto second = mixed_tensors();
  write_safetensors(folder(), first, 20);
  const SafetensorsFolder mapped{folder()};
  write_safetensors(folder(), second);
  EXPECT_THAT(files(), UnorderedElementsAre("model.safetensors", "config.json"));
  expect_equal(SafetensorsFolder{folder()}, second);
  write_safetensors(folder(), first, 40);
  expect_equal(SafetensorsFolder{folder()}, first);
  expect_equal(mapped, first);  // an open mapping keeps what it was opened on
}

TEST_F(SafetensorsTest, EntriesOutliveAMove) {
  const auto tensors = mixed_tensors();
  write_safetensors(folder(), tensors);
  SafetensorsFolder read{folder()};
  const auto bytes = read.at("a.f32").bytes;
  const SafetensorsFolder moved{std::move(read)};
  EXPECT_EQ(moved.at("a.f32").bytes.data(), bytes.data());
  expect_equal(moved, tensors);
}

TEST_F(SafetensorsTest, RefusesTensorsThatCannotBeWritten) {
  const auto refuse = [&](const std::vector<SafetensorsEntry>& tensors) {
    return message_of<InputError>([&] { write_safetensors(folder() / "out", tensors); });
  };
  auto wrong = tensor("w", DType::Float32, {2, 2});
  wrong.shape = {2, 3};
  EXPECT_THAT(refuse({wrong}), AllOf(HasSubstr("\"w\""), HasSubstr("[2,3]"), HasSubstr("16 bytes")));
  wrong.shape = {-2, -2};
  EXPECT_THAT(refuse({wrong}), HasSubstr("\"w\""));
  wrong.shape = {std::int64_t{1} << 62, 4};
  EXPECT_THAT(refuse({wrong}), HasSubstr("\"w\""));
  const auto one = tensor("same", DType::Float32, {1});
  EXPECT_THAT(refuse({one, one}), HasSubstr("two have this name"));
  auto unknown = tensor("u", DType::UInt8, {1});
  unknown.dtype = static_cast<DType>(77);
  EXPECT_THAT(refuse({unknown}), AllOf(HasSubstr("\"u\""), HasSubstr("77")));
  EXPECT_FALSE(fs::exists(folder() / "out"));
  EXPECT_THROW(write_safetensors(folder(), mixed_tensors(), 0), ConfigError);
}

TEST_F(SafetensorsTest, FailedWriteKeepsTheEarlierExport) {
  const auto first = mixed_tensors();
  write_safetensors(folder(), first);
  // A folder in the way of the second shard's temporary file.
  fs::create_directory(folder() / "model-00002-of-00002.safetensors.partial");
  const std::vector tensors{tensor("a", DType::UInt8, {4}), tensor("b", DType::UInt8, {4})};
  try {
    write_safetensors(folder(), tensors, 4);
    FAIL() << "nothing was thrown";
  } catch (const Error& error) {
    EXPECT_EQ(error.exit_code(), ExitCode::Io);
    EXPECT_THAT(error.what(), HasSubstr("model-00002-of-00002.safetensors"));
  }
  EXPECT_THAT(files(), UnorderedElementsAre("model.safetensors",
                                            "model-00002-of-00002.safetensors.partial"));
  expect_equal(SafetensorsFolder{folder()}, first);
}

// --- reading what is damaged ---

TEST_F(SafetensorsTest, EveryTruncationIsAnError) {
  write_safetensors(folder(), mixed_tensors());
  const std::string file = read_file(folder() / "model.safetensors");
  for (std::size_t size = 0; size < file.size(); ++size) {
    SCOPED_TRACE(size);
    write("model.safetensors", file.substr(0, size));
    EXPECT_THAT(open_error(), HasSubstr((folder() / "model.safetensors").string()));
  }
}

TEST_F(SafetensorsTest, SaysHowMuchIsMissing) {
  write_safetensors(folder(), std::vector{tensor("a", DType::Float32, {1000})});
  const std::string file = read_file(folder() / "model.safetensors");
  write("model.safetensors", file.substr(0, 1000));
  EXPECT_THAT(open_error(), AllOf(HasSubstr("cut short"), HasSubstr(std::to_string(file.size())),
                                  HasSubstr("1000")));
  write("model.safetensors", file + "x");
  EXPECT_THAT(open_error(), HasSubstr(std::to_string(file.size() + 1)));
  write("model.safetensors", file.substr(0, 40));
  EXPECT_THAT(open_error(), HasSubstr("the file ends after 40"));
}

TEST_F(SafetensorsTest, RefusesHeadersThatClaimTooMuch) {
  for (const std::uint64_t length : {std::uint64_t{200'000'000}, ~std::uint64_t{0}}) {
    std::string file(reinterpret_cast<const char*>(&length), sizeof length);
    write("model.safetensors", file + "{}");
    EXPECT_THAT(open_error(), HasSubstr(std::to_string(length)));
  }
}

TEST_F(SafetensorsTest, RefusesBadLayouts) {
  const auto info = [](const std::string& name, const std::string& dtype, const std::string& shape,
                       const std::string& offsets) {
    return '"' + name + R"(": {"dtype": ")" + dtype + R"(", "shape": )" + shape +
           R"(, "data_offsets": )" + offsets + '}';
  };
  const std::string good = info("a", "F32", "[2]", "[0, 8]");
  const std::vector<std::pair<std::string, std::string>> cases{
      {"not json", "JSON"},
      {"{\"a\": 3}", "JSON"},
      {"{\xff}", "UTF-8"},
      {"{" + good + ", " + info("b", "F32", "[2]", "[4, 12]") + "}", "\"b\" overlaps"},
      {"{" + info("a", "F32", "[2]", "[8, 16]") + "}", "\"a\" overlaps another one or leaves a gap"},
      {"{" + info("a", "F32", "[2]", "[8, 0]") + "}", "\"a\""},
      {"{" + info("a", "F32", "[3]", "[0, 8]") + "}", "\"a\" of type F32 and shape [3] needs 12"},
      {"{" + info("a", "F64", "[2]", "[0, 8]") + "}", "\"a\" of type F64"},
      {"{" + info("a", "F32", "[-2]", "[0, 8]") + "}", "JSON"},
      {"{" + info("a", "F32", "[4611686018427387904, 8]", "[0, 8]") + "}", "overflow"},
      {"{" + info("a", "F99", "[2]", "[0, 8]") + "}", "F99"},
      {"{" + good + ", " + good + "}", "two tensors have the name"}};
  for (const auto& [header, expected] : cases) {
    SCOPED_TRACE(header);
    write_raw(header, header.find("[8, 16]") == std::string::npos ? 8 : 16);
    EXPECT_THAT(open_error(), AllOf(HasSubstr("model.safetensors"), HasSubstr(expected)));
  }
}

TEST_F(SafetensorsTest, UnsupportedTypesFailOnlyWhereTheyAreAskedFor) {
  write_raw(R"({"mask": {"dtype": "BOOL", "shape": [8], "data_offsets": [0, 8]},
                "w": {"dtype": "F32", "shape": [1], "data_offsets": [8, 12]}})",
            12);
  const SafetensorsFolder read{folder()};
  ASSERT_EQ(read.entries().size(), 1U);
  EXPECT_EQ(read.entries()[0].name, "w");
  ASSERT_EQ(read.unsupported().size(), 1U);
  EXPECT_EQ(read.unsupported()[0].dtype, "BOOL");
  EXPECT_THAT(message_of<InputError>([&] { read.at("mask"); }),
              AllOf(HasSubstr("\"mask\""), HasSubstr("BOOL")));
  EXPECT_THAT(message_of<InputError>([&] { read.at("other"); }), HasSubstr("\"other\""));
}

TEST_F(SafetensorsTest, NamesMissingShardsAndTensors) {
  const auto index = [](const json& map) { return json{{"weight_map", map}}.dump(); };
  write_safetensors(folder(), mixed_tensors(), 20);
  const std::string index_name = "model.safetensors.index.json";
  json map = json::parse(read_file(folder() / index_name))["weight_map"];

  const std::string shard = map["ids"];
  const std::string bytes = read_file(folder() / shard);
  fs::remove(folder() / shard);
  EXPECT_THAT(message_of<MissingInputError>([&] { SafetensorsFolder{folder()}; }),
              HasSubstr(shard));
  write(shard, bytes.substr(0, bytes.size() - 1));
  EXPECT_THAT(open_error(), HasSubstr(shard));
  write(shard, bytes);

  map["ghost"] = shard;
  write(index_name, index(map));
  EXPECT_THAT(open_error(), AllOf(HasSubstr("\"ghost\""), HasSubstr(shard)));
  map.erase("ghost");
}

TEST_F(SafetensorsTest, RefusesATensorInTwoShards) {
  const std::vector tensors{tensor("a", DType::UInt8, {4}), tensor("b", DType::UInt8, {4})};
  write_safetensors(folder(), tensors, 4);
  write_raw(R"({"a": {"dtype": "U8", "shape": [1], "data_offsets": [0, 1]},
                "b": {"dtype": "U8", "shape": [1], "data_offsets": [1, 2]}})",
            2, "model-00002-of-00002.safetensors");
  EXPECT_THAT(open_error(), HasSubstr("two shards hold the tensor \"a\""));
}

TEST_F(SafetensorsTest, RefusesBadIndexFiles) {
  for (const char* text : {"", "{", "[]", "{}", R"({"weight_map": 3})",
                           R"({"weight_map": {"a": 3}})", R"({"weight_map": {"a": ""}})",
                           R"({"weight_map": {"a": "../model.safetensors"}})",
                           R"({"weight_map": {"a": "/etc/passwd"}})"}) {
    SCOPED_TRACE(text);
    write("model.safetensors.index.json", text);
    EXPECT_THAT(open_error(), HasSubstr("model.safetensors.index.json"));
  }
}

TEST_F(SafetensorsTest, SaysWhatItLookedFor) {
  const auto missing = [&] {
    return message_of<MissingInputError>([&] { SafetensorsFolder{folder()}; });
  };
  EXPECT_THAT(missing(), AllOf(HasSubstr(folder().string()), HasSubstr("model.safetensors")));
  write("pytorch_model.bin", "");
  EXPECT_THAT(missing(), HasSubstr("pytorch_model.bin"));
  EXPECT_THAT(message_of<MissingInputError>([] { SafetensorsFolder{"gpt2-community/gpt2"}; }),
              HasSubstr("hf download"));
}

}  // namespace
}  // namespace hone
