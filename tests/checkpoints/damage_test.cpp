// Whatever happens to the files of a checkpoint, it is refused by name and an older one is taken.
#include "checkpoint_fixture.hpp"
#include "forged_manifest.hpp"
#include "digest.hpp"
#include "hone/checkpoints/inspect.hpp"
#include "manifest_format.hpp"

namespace hone::testing {
namespace {

using checkpoints::Hdf5CheckpointStore;
using checkpoints::inspect_checkpoint;
using distributed::ThreadWorld;
using ::testing::AllOf;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

class DamageTest : public CheckpointTest {
 protected:
  void SetUp() override {
    CheckpointTest::SetUp();
    save(10, 1, 2);
    save(20, 2, 2);
  }

  fs::path manifest() const { return checkpoint(20) / "manifest.json"; }
  fs::path rank_file(int rank) const {
    return checkpoint(20) / ("rank-0000" + std::to_string(rank) + "-of-00002.h5");
  }

  /// The damaged checkpoint-20 is refused for `reason` and checkpoint-10 is chosen, by 1 to 3
  /// ranks.
  void expect_fallback(const std::string& reason) {
    EXPECT_THAT(inspect_checkpoint(checkpoint(20)).problem.value_or("none"), HasSubstr(reason));
    for (const int ranks : {1, 2, 3}) {
      RecordingLogger logger;
      ThreadWorld{ranks}.run([&](Communicator& comm) {
        Hdf5CheckpointStore store{comm, logger, options()};
        EXPECT_EQ(find_newest(store), checkpoint(10));
      });
      EXPECT_THAT(logger.warnings(),
                  ElementsAre(AllOf(HasSubstr("refused " + checkpoint(20).string()),
                                    HasSubstr(reason))));
    }
  }

  void flip_bit(const fs::path& path, std::size_t byte) {
    auto bytes = read_file(path);
    ASSERT_LT(byte, bytes.size());
    bytes[byte] ^= 0x10;
    write_file(path, bytes);
  }

  void forge(const std::string& from, const std::string& to) { testing::forge(manifest(), from, to); }
};

/// In the manifest's own words.
std::string other_files(const std::vector<std::string>& names) {
  std::string list = "\"other_files\": [";
  for (const auto& name : names) {
    list += list.back() == '[' ? "" : ",";
    list += "{\"file\":\"" + name + "\",\"bytes\":1,\"digest\":\"xxh128:" + std::string(32, '0') + "\"}";
  }
  return list + "]";
}

TEST_F(DamageTest, EveryBitOfTheHdf5FilesMatters) {
  const auto original = read_file(rank_file(1));
  for (std::size_t byte = 0; byte < original.size(); byte += byte < 256 ? 1 : 13) {
    flip_bit(rank_file(1), byte);
    EXPECT_FALSE(inspect_checkpoint(checkpoint(20)).verified()) << byte;
    write_file(rank_file(1), original);
  }
  EXPECT_TRUE(inspect_checkpoint(checkpoint(20)).verified());
}

TEST_F(DamageTest, EveryBitOfTheManifestMatters) {
  const auto original = read_file(manifest());
  for (std::size_t byte = 0; byte < original.size(); byte += 3) {
    flip_bit(manifest(), byte);
    EXPECT_FALSE(inspect_checkpoint(checkpoint(20)).verified()) << byte;
    write_file(manifest(), original);
  }
}

TEST_F(DamageTest, BitFlipInTheHeader) {
  flip_bit(rank_file(0), 20);
  expect_fallback("rank-00000-of-00002.h5: the HDF5 structure does not match its digest");
}

TEST_F(DamageTest, BitFlipInData) {
  auto wanted = sample_tensors(2);
  const auto bytes = read_file(rank_file(0));
  const auto view = wanted.views()[0].bytes;
  const std::string data{reinterpret_cast<const char*>(view.data()), view.size()};
  ASSERT_NE(bytes.find(data), std::string::npos);
  flip_bit(rank_file(0), bytes.find(data) + 100);
  expect_fallback("tensor model/wte.weight does not match its digest");

  // Loading it all the same, by name, is refused too.
  ThreadWorld{2}.run([&](Communicator& comm) {
    Hdf5CheckpointStore store{comm, logger_, options()};
    auto loaded = sample_tensors(2);
    const auto thrown = thrown_by([&] { store.load_tensors(checkpoint(20), loaded.views()); });
    EXPECT_EQ(thrown.code, ExitCode::InvalidData);
    EXPECT_THAT(thrown.text, HasSubstr("tensor model/wte.weight does not match its digest"));
  });
}

TEST_F(DamageTest, Truncation) {
  fs::resize_file(rank_file(1), fs::file_size(rank_file(1)) - 1);
  expect_fallback("bytes, the manifest says");
}

TEST_F(DamageTest, TooLong) {
  fs::resize_file(rank_file(1), fs::file_size(rank_file(1)) + 1);
  expect_fallback("bytes, the manifest says");
}

TEST_F(DamageTest, EmptyFile) {
  fs::resize_file(rank_file(0), 0);
  expect_fallback("has 0 bytes, the manifest says");
}

TEST_F(DamageTest, ZeroedPage) {
  auto bytes = read_file(rank_file(0));
  std::fill(bytes.begin() + 512, bytes.begin() + 1024, '\0');
  write_file(rank_file(0), bytes);
  expect_fallback("does not match its digest");
}

TEST_F(DamageTest, MissingRankFile) {
  fs::remove(rank_file(1));
  expect_fallback("rank-00001-of-00002.h5: No such file or directory");
}

TEST_F(DamageTest, LinkInsteadOfAFile) {
  fs::rename(rank_file(1), root_ / "moved.h5");
  fs::create_symlink(root_ / "moved.h5", rank_file(1));
  expect_fallback("rank-00001-of-00002.h5");
}

TEST_F(DamageTest, SwappedRankFiles) {
  fs::rename(rank_file(0), root_ / "0");
  fs::rename(rank_file(1), rank_file(0));
  fs::rename(root_ / "0", rank_file(1));
  expect_fallback("rank-00000-of-00002.h5");
}

TEST_F(DamageTest, FileOfAnotherCheckpoint) {
  fs::copy_file(checkpoint(10) / "rank-00000-of-00002.h5", rank_file(0),
                fs::copy_options::overwrite_existing);
  expect_fallback("does not match its digest");
}

TEST_F(DamageTest, FolderOfAnotherStep) {
  fs::remove_all(checkpoint(20));
  fs::copy(checkpoint(10), checkpoint(20));
  RecordingLogger logger;
  ThreadWorld{2}.run([&](Communicator& comm) {
    Hdf5CheckpointStore store{comm, logger, options()};
    EXPECT_EQ(find_newest(store), checkpoint(10));
  });
  EXPECT_THAT(logger.warnings(), ElementsAre(HasSubstr("is that of step 10")));
}

TEST_F(DamageTest, NoManifest) {
  fs::remove(manifest());
  expect_fallback("manifest.json: No such file or directory");
}

TEST_F(DamageTest, TruncatedManifest) {
  fs::resize_file(manifest(), fs::file_size(manifest()) / 2);
  expect_fallback("does not end with its own digest");
}

TEST_F(DamageTest, EditedManifest) {
  auto text = read_file(manifest());
  text.replace(text.find("\"step\": 20"), 10, "\"step\": 21");
  write_file(manifest(), text);
  expect_fallback("its own digest does not match");
}

TEST_F(DamageTest, ManifestOfALaterFormat) {
  forge("\"format_version\": 3", "\"format_version\": 4");
  expect_fallback("has format version 4");
}

TEST_F(DamageTest, ForgedManifestsStayInsideTheirFolderAndFiles) {
  const auto original = read_file(manifest());
  const std::vector<std::pair<std::string, std::string>> forgeries{
      {"\"file\":\"rank-00000-of-00002.h5\"",
       "\"file\":\"../checkpoint-10/rank-00000-of-00002.h5\""},
      {"\"world_size\": 2", "\"world_size\": 1"},
      {"\"world_size\": 2", "\"world_size\": -1"},
      {"\"world_size\": 2", "\"world_size\": 123456789012"},
      {"\"shape\":[50,8]", "\"shape\":[50,-8]"},
      {"\"shape\":[50,8]", "\"shape\":[50,9]"},
      {"\"shape\":[50,8]", "\"shape\":[4611686018427387904,4611686018427387904]"},
      {"\"shape\":[50,8]", "\"shape\":\"50\""},
      {"\"bytes\":1600", "\"bytes\":9223372036854775807"},
      {"\"bytes\":1600", "\"bytes\":1.5"},
      {"\"offset\":", "\"offset\":9223372036854775"},
      {"\"offset\":", "\"offset\":-"},
      {"\"name\":\"model/wte.weight\"", "\"name\":\"../wte.weight\""},
      {"\"name\":\"model/wte.weight\"", "\"name\":\"exp_avg/wte.weight\""},
      {"\"dtype\":\"float32\"", "\"dtype\":\"complex64\""},
      {"\"other_files\": [\n]",
       "\"other_files\": [{\"file\":\"../../x\",\"bytes\":1,\"digest\":\"xxh128:" + std::string(32, '0') +
           "\"}]"},
      {"\"other_files\": [\n]",
       "\"other_files\": [{\"file\":\"/etc/hostname\",\"bytes\":1,\"digest\":\"xxh128:" +
           std::string(32, '0') + "\"}]"},
      {"\"other_files\": [\n]", other_files({"a", "a"})},
      {"\"other_files\": [\n]", other_files({"./a"})},
      {"\"other_files\": [\n]", other_files({"a/../b"})},
      {"\"other_files\": [\n]", other_files({"a/"})},
      {"\"other_files\": [\n]", other_files({"a//b"})},
      {"\"other_files\": [\n]", other_files({"a\\u0000"})},
      {"\"other_files\": [\n]", other_files({"rank-00000-of-00002.h5"})},
      {"\"state\": ", "\"state\": 1, \"rest\": "},
      {"\"format\": \"hone-checkpoint\"", "\"format\": \"other\""},
      {"\"tensors\": [", "\"tensors\": [["},
  };
  for (const auto& [from, to] : forgeries) {
    forge(from, to);
    const auto summary = inspect_checkpoint(checkpoint(20));
    EXPECT_THAT(summary.problem.value_or("accepted"), HasSubstr("manifest.json:")) << to;
    write_file(manifest(), original);
  }
  forge("\"offset\":2048", "\"offset\":2049");
  EXPECT_THAT(inspect_checkpoint(checkpoint(20)).problem.value_or("accepted"),
              HasSubstr("overlaps another tensor"));
  write_file(manifest(), original);
  forge("\"offset\":2048", "\"offset\":9223372036854775807");
  EXPECT_THAT(inspect_checkpoint(checkpoint(20)).problem.value_or("accepted"),
              HasSubstr("does not lie inside rank-0000"));
  write_file(manifest(), original);
  forge("\"offset\":", "\"other\":0,\"offset\":");  // unknown keys are for later versions
  EXPECT_TRUE(inspect_checkpoint(checkpoint(20)).verified());
}

TEST_F(DamageTest, ExtraFilesAndFoldersAreIgnored) {
  write_file(checkpoint(20) / "notes.txt", "mine");
  fs::create_directories(run_ / ".tmp-checkpoint-30-aa");
  fs::copy(checkpoint(20), run_ / ".tmp-checkpoint-40-bb", fs::copy_options::recursive);
  EXPECT_EQ(newest(2), checkpoint(20));
  EXPECT_THAT(logger_.warnings(), IsEmpty());
}

TEST_F(DamageTest, WhereAllAreBadNobodyStartsAfresh) {
  fs::remove(manifest());
  flip_bit(checkpoint(10) / "rank-00001-of-00002.h5", 100);
  ThreadWorld{3}.run([&](Communicator& comm) {
    Hdf5CheckpointStore store{comm, logger_, options()};
    const auto thrown = thrown_by([&] { find_newest(store); });
    EXPECT_EQ(thrown.code, ExitCode::InvalidData);
    EXPECT_THAT(thrown.text, AllOf(HasSubstr("checkpoint-20: "), HasSubstr("checkpoint-10: "),
                                   HasSubstr(run_.string())));
  });
}

TEST_F(DamageTest, SavingAgainReplacesTheDamagedOne) {
  fs::remove(manifest());
  distributed::LoopbackCommunicator comm;
  Hdf5CheckpointStore store{comm, logger_, options(1)};
  EXPECT_EQ(find_newest(store), checkpoint(10));
  auto tensors = sample_tensors(3);
  store.save(content_of(tensors, 20, 3));
  EXPECT_TRUE(holds(checkpoint(20), 3));
  EXPECT_EQ(find_newest(store), checkpoint(20));
}

TEST_F(DamageTest, InspectingNothingIsMissingInput) {
  EXPECT_EQ(thrown_by([&] { inspect_checkpoint(checkpoint(99)); }).code, ExitCode::MissingInput);
}

}  // namespace
}  // namespace hone::testing
