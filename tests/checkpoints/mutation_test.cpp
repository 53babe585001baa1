// Checkpoints damaged at random, in all the ways that disks, copies and people do it: each is refused, or
// what is loaded of it is proven to be what was saved; and the newest good one is always found.
#include <sys/stat.h>

#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <map>
#include <random>

#include "checkpoint_fixture.hpp"

namespace hone::testing {
namespace {

constexpr int kRanks = 2;
constexpr std::int64_t kOld = 10, kNew = 20;

class MutationTest : public CheckpointTest {
 protected:
  using Mutation = void (MutationTest::*)();

  void SetUp() override {
    CheckpointTest::SetUp();
    save_with_config(kOld);
    save_with_config(kNew);
    for (const auto& name : names_) whole_[name] = read_file(checkpoint(kNew) / name);
  }

  void save_with_config(std::int64_t step) {
    distributed::ThreadWorld{kRanks}.run([&](Communicator& comm) {
      checkpoints::Hdf5CheckpointStore store{comm, logger_, options()};
      auto tensors = sample_tensors(static_cast<unsigned>(step));
      auto content = content_of(tensors, step, static_cast<unsigned>(step));
      content.add_files = [](const fs::path& folder) { write_file(folder / "config.json", "{}\n"); };
      store.save(content);
    });
  }

  void make_whole() {
    fs::remove_all(checkpoint(kNew));
    fs::create_directory(checkpoint(kNew));
    for (const auto& [name, bytes] : whole_) write_file(checkpoint(kNew) / name, bytes);
  }

  std::size_t below(std::size_t limit) {
    return std::uniform_int_distribution<std::size_t>{0, limit - 1}(random_);
  }
  fs::path any() { return checkpoint(kNew) / names_[below(names_.size())]; }
  fs::path other_of(const fs::path& path) { return checkpoint(kOld) / path.filename(); }

  template <typename Change>
  void change(Change change) {
    const auto path = any();
    auto bytes = read_file(path);
    change(bytes);
    write_file(path, bytes);
  }
  /// Fills a run of bytes somewhere.
  void fill(std::size_t most, bool with_noise) {
    change([&](std::string& bytes) {
      const auto begin = below(bytes.size());
      const auto end = std::min(bytes.size(), begin + 1 + below(most));
      for (auto i = begin; i < end; ++i) bytes[i] = with_noise ? static_cast<char>(random_()) : '\0';
    });
  }

  void flip_bits() {
    change([&](std::string& bytes) {
      for (auto left = 1 + below(3); left > 0; --left) {
        bytes[below(bytes.size())] ^= static_cast<char>(1 << below(8));
      }
    });
  }
  void cut_off() {
    change([&](std::string& bytes) { bytes.resize(below(bytes.size())); });
  }
  void append() {
    change([&](std::string& bytes) { bytes.append(1 + below(5000), 'x'); });
  }
  void zero_a_page() { fill(4096, /*with_noise=*/false); }
  void write_noise() { fill(64, /*with_noise=*/true); }
  void move_bytes() {
    change([&](std::string& bytes) {
      std::rotate(bytes.begin(), bytes.begin() + static_cast<std::ptrdiff_t>(below(bytes.size())),
                  bytes.end());
    });
  }
  void remove_a_file() { fs::remove(any()); }
  void take_an_older_file() {
    const auto path = any();
    fs::copy_file(other_of(path), path, fs::copy_options::overwrite_existing);
  }
  void swap_ranks() {
    const auto first = checkpoint(kNew) / names_[0], second = checkpoint(kNew) / names_[1];
    fs::rename(first, root_ / "aside");
    fs::rename(second, first);
    fs::rename(root_ / "aside", second);
  }
  void make_a_folder_of_a_file() {
    const auto path = any();
    fs::remove(path);
    fs::create_directory(path);
  }
  void link_to_an_older_file() {
    const auto path = any();
    fs::remove(path);
    fs::create_symlink(other_of(path), path);
  }
  void make_a_pipe_of_a_file() {
    const auto path = any();
    fs::remove(path);
    ASSERT_EQ(::mkfifo(path.c_str(), 0600), 0);
  }
  void add_a_file() { write_file(checkpoint(kNew) / "rank-00002-of-00003.h5", "x"); }
  void rename_the_folder() {
    fs::remove_all(checkpoint(kNew + 1));
    fs::rename(checkpoint(kNew), checkpoint(kNew + 1));
  }

  struct Way {
    const char* name;
    Mutation mutation;
    int refused = 0, harmless = 0;
  };

  static std::vector<Way> all_ways() {
    return {{"flipped bits", &MutationTest::flip_bits},
            {"cut off", &MutationTest::cut_off},
            {"appended", &MutationTest::append},
            {"a page of zeros", &MutationTest::zero_a_page},
            {"noise", &MutationTest::write_noise},
            {"bytes moved", &MutationTest::move_bytes},
            {"a file gone", &MutationTest::remove_a_file},
            {"an older file", &MutationTest::take_an_older_file},
            {"ranks swapped", &MutationTest::swap_ranks},
            {"a folder for a file", &MutationTest::make_a_folder_of_a_file},
            {"a link for a file", &MutationTest::link_to_an_older_file},
            {"a pipe for a file", &MutationTest::make_a_pipe_of_a_file},
            {"a file more", &MutationTest::add_a_file},
            {"another name", &MutationTest::rename_the_folder}};
  }

  /// What is found is kOld, whole, or kNew, whole.
  void expect_sound(Way& way) {
    const auto found = newest(kRanks);
    ASSERT_TRUE(found.has_value());
    const bool is_new = *found == checkpoint(kNew);
    ASSERT_TRUE(is_new || *found == checkpoint(kOld)) << *found;
    ASSERT_TRUE(holds(*found, static_cast<unsigned>(is_new ? kNew : kOld)));
    (is_new ? way.harmless : way.refused) += 1;
  }

  const std::vector<std::string> names_{"rank-00000-of-00002.h5", "rank-00001-of-00002.h5",
                                        "manifest.json", "config.json"};
  std::map<std::string, std::string> whole_;
  std::mt19937_64 random_{20};
};

TEST_F(MutationTest, AreRefusedOrHarmless) {
  const char* const given = std::getenv("HONE_NUM_MUTATIONS");
  const int number = given != nullptr ? std::atoi(given) : 500;
  auto ways = all_ways();
  for (int i = 0; i < number; ++i) {
    auto& way = ways[static_cast<std::size_t>(i) % ways.size()];
    make_whole();
    (this->*way.mutation)();
    SCOPED_TRACE(std::string{way.name} + ", mutation " + std::to_string(i));
    expect_sound(way);
    fs::remove_all(checkpoint(kNew + 1));
    if (HasFailure()) return;
  }
  for (const auto& way : ways) {
    std::printf("%-20s %5d refused %5d harmless\n", way.name, way.refused, way.harmless);
    const bool may_be_harmless = std::string_view{way.name} == "a file more";
    EXPECT_EQ(way.refused > 0, !may_be_harmless) << way.name;
  }
}

}  // namespace
}  // namespace hone::testing
