// What is saved can be loaded, by any number of ranks; and what the callers must not do.
#include <algorithm>
#include <atomic>
#include <nlohmann/json.hpp>
#include <thread>

#include "checkpoint_fixture.hpp"
#include "hone/checkpoints/inspect.hpp"

namespace hone::testing {
namespace {

using checkpoints::Hdf5CheckpointStore;
using distributed::LoopbackCommunicator;
using distributed::ThreadWorld;
using ::testing::AllOf;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::Not;
using ::testing::StartsWith;

class RoundTripTest : public CheckpointTest {
 protected:
  /// What every rank of a world throws; they must all throw the same.
  Thrown thrown_everywhere(int ranks, const std::function<void(Communicator&)>& body) {
    std::mutex mutex;
    std::vector<Thrown> all;
    ThreadWorld{ranks}.run([&](Communicator& comm) {
      const auto thrown = thrown_by([&] { body(comm); });
      const std::lock_guard lock{mutex};
      all.push_back(thrown);
    });
    for (const auto& thrown : all) {
      EXPECT_EQ(thrown.text, all.front().text);
      EXPECT_EQ(thrown.code, all.front().code);
    }
    return all.front();
  }

  /// Step `writers`: the samples, and dealt_tensors() in pieces of so many ranks.
  void save_dealt(int writers);
};

TEST_F(RoundTripTest, AnyNumberOfRanksLoadsWhatAnyOtherWrote) {
  for (int writers = 1; writers <= 6; ++writers) {
    save(writers, 10U + static_cast<unsigned>(writers), writers);
    for (int readers = 1; readers <= 6; ++readers) {
      const auto salt = 10U + static_cast<unsigned>(writers);
      ThreadWorld{readers}.run([&](Communicator& comm) {
        Hdf5CheckpointStore store{comm, logger_, options()};
        const auto path = find_newest(store);
        ASSERT_EQ(path, checkpoint(writers));
        auto loaded = sample_tensors(salt);
        loaded.clear_bytes();
        store.load_tensors(*path, loaded.views());
        EXPECT_EQ(loaded, sample_tensors(salt));
        EXPECT_EQ(store.load_state(*path), state_of(salt));
      });
    }
  }
  EXPECT_THAT(logger_.warnings(), IsEmpty());
  EXPECT_THAT(leftovers(), IsEmpty());
}

TEST_F(RoundTripTest, TensorsByTheTenThousandAreSavedLookedAtAndLoaded) {
  Tensors many{1};
  for (int i = 0; i < 20'000; ++i) many.add("model/h." + std::to_string(i) + ".bias", DType::Float32, {1});
  ThreadWorld{2}.run([&](Communicator& comm) {
    Hdf5CheckpointStore store{comm, logger_, options()};
    store.save(content_of(many, 1, 1));
  });
  const auto summary = checkpoints::inspect_checkpoint(checkpoint(1));
  EXPECT_TRUE(summary.verified()) << summary.problem.value_or("");
  EXPECT_EQ(summary.tensors.size(), 20'000U);
  EXPECT_TRUE(summary.structure_as_laid_out.value_or(false));
  auto loaded = many;
  loaded.clear_bytes();
  LoopbackCommunicator alone;
  Hdf5CheckpointStore{alone, logger_, options()}.load_tensors(checkpoint(1), loaded.views());
  EXPECT_EQ(loaded, many);
}

/// As on GPUs: each rank brings what it writes, and no more.
TEST_F(RoundTripTest, WhatIsInADevicesMemoryIsFetchedByTheRankThatWritesIt) {
  for (const bool behind : {false, true}) {
    std::atomic<int> num_fetched = 0;
    ThreadWorld{3}.run([&](Communicator& comm) {
      Hdf5CheckpointStore store{comm, logger_, options()};
      auto on_device = sample_tensors(5);
      auto content = content_of(on_device, behind ? 2 : 1, 5);
      for (auto& tensor : content.tensors) {
        tensor.fetch = [&, from = tensor.bytes](std::span<std::byte> to) {
          std::ranges::copy(from, to.begin());
          ++num_fetched;
        };
        tensor.bytes = {static_cast<std::byte*>(nullptr), tensor.bytes.size()};
      }
      store.require_room(content.tensors);
      store.prepare_saves(content.tensors);
      if (!behind) {
        store.save(content);
      } else {
        store.start_save(content);
        on_device.clear_bytes();
        store.finish_save();
      }
    });
    EXPECT_TRUE(holds(checkpoint(behind ? 2 : 1), 5));
    EXPECT_EQ(num_fetched, std::ssize(sample_tensors(5).views()));
  }
}

TEST_F(RoundTripTest, EachRankWritesItsOwnFileAndNoByteTwice) {
  save(7, 1, 3);
  const auto summary = checkpoints::inspect_checkpoint(checkpoint(7));
  EXPECT_TRUE(summary.verified()) << summary.problem.value_or("");
  EXPECT_EQ(summary.world_size, 3);
  std::map<std::string, std::int64_t> bytes;
  std::int64_t total = 0;
  for (const auto& tensor : summary.tensors) {
    bytes[tensor.file] += tensor.bytes;
    total += tensor.bytes;
  }
  std::int64_t expected = 0;
  auto tensors = sample_tensors(1);
  for (const auto& tensor : tensors.views()) {
    expected += static_cast<std::int64_t>(tensor.bytes.size());
  }
  EXPECT_EQ(total, expected);
  EXPECT_EQ(bytes.size(), 3U);
  EXPECT_EQ(bytes["rank-00000-of-00003.h5"], 1600);  // the two large ones are apart
  EXPECT_EQ(bytes["rank-00001-of-00003.h5"], 1600);
}

TEST_F(RoundTripTest, MoreRanksThanTensorsAndNoTensorsAtAll) {
  ThreadWorld{4}.run([&](Communicator& comm) {
    Hdf5CheckpointStore store{comm, logger_, options()};
    Tensors one{3};
    one.add("only", DType::Float32, {5});
    store.save({1, one.views(), "{}", {}});
    store.save({2, {}, "[]", {}});
    EXPECT_EQ(find_newest(store), checkpoint(2));
    EXPECT_EQ(store.load_state(checkpoint(2)), "[]");
    auto loaded = one;
    loaded.clear_bytes();
    store.load_tensors(checkpoint(1), loaded.views());
    EXPECT_EQ(loaded, one);
  });
}

TEST_F(RoundTripTest, TensorsLargerThanAChunkAndPartialLoads) {
  ThreadWorld{2}.run([&](Communicator& comm) {
    Hdf5CheckpointStore store{comm, logger_, options()};
    Tensors large{5};
    large.add("a", DType::UInt8, {9'000'001}).add("b", DType::Float32, {1'500'000});
    store.save({1, large.views(), "{}", {}});
    auto loaded = large;
    loaded.clear_bytes();
    store.load_tensors(checkpoint(1), std::vector{loaded.views()[1]});
    EXPECT_EQ(std::vector(loaded.views()[1].bytes.begin(), loaded.views()[1].bytes.end()),
              std::vector(large.views()[1].bytes.begin(), large.views()[1].bytes.end()));
    store.load_tensors(checkpoint(1), loaded.views());
    EXPECT_EQ(loaded, large);
    EXPECT_EQ(find_newest(store), checkpoint(1));
  });
}

/// The part of each tensor that `rank` has of `size`; the last one's is longer.
std::vector<TensorBytes> pieces_of(std::vector<TensorBytes> whole, int rank, int size) {
  for (auto& tensor : whole) {
    const auto width = size_of(tensor.dtype);
    const auto count = static_cast<std::int64_t>(tensor.bytes.size()) / width;
    const auto begin = count / size * rank;
    const auto end = rank + 1 == size ? count : begin + count / size;
    tensor.first = begin;
    tensor.is_dealt = true;
    tensor.bytes = tensor.bytes.subspan(static_cast<std::size_t>(begin * width),
                                        static_cast<std::size_t>((end - begin) * width));
  }
  return whole;
}

Tensors dealt_tensors() {
  Tensors tensors{21};
  tensors.add("exp_avg/a", DType::Float32, {2'300'001}).add("exp_avg/b", DType::BFloat16, {7, 5});
  return tensors;
}

void RoundTripTest::save_dealt(int writers) {
  ThreadWorld{writers}.run([&](Communicator& comm) {
    Hdf5CheckpointStore store{comm, logger_, options()};
    auto dealt = dealt_tensors();
    auto all = sample_tensors(1);
    auto content = content_of(all, writers, 1);
    const auto mine = pieces_of(dealt.views(), comm.rank(), writers);
    content.tensors.insert(content.tensors.end(), mine.begin(), mine.end());
    store.save(content);
  });
}

TEST_F(RoundTripTest, PiecesOfManyRanksAreReadByAnyOtherNumberOfRanks) {
  for (int writers = 1; writers <= 6; ++writers) {
    save_dealt(writers);
    const auto summary = checkpoints::inspect_checkpoint(checkpoint(writers));
    EXPECT_TRUE(summary.verified()) << summary.problem.value_or("");
    for (int readers = 1; readers <= 6; ++readers) {
      ThreadWorld{readers}.run([&](Communicator& comm) {
        Hdf5CheckpointStore store{comm, logger_, options()};
        auto loaded = dealt_tensors();
        loaded.clear_bytes();
        store.load_tensors(checkpoint(writers), pieces_of(loaded.views(), comm.rank(), readers));
        auto expected = dealt_tensors();
        const auto got = pieces_of(loaded.views(), comm.rank(), readers);
        const auto wanted = pieces_of(expected.views(), comm.rank(), readers);
        for (std::size_t i = 0; i < got.size(); ++i) {
          EXPECT_TRUE(std::ranges::equal(got[i].bytes, wanted[i].bytes))
              << got[i].name << " from " << writers << " ranks on " << readers;
        }
        store.load_tensors(checkpoint(writers), loaded.views());
        EXPECT_EQ(loaded, dealt_tensors());
      });
    }
  }
}

TEST_F(RoundTripTest, SaysOfAllRanksHowMuchIsSaved) {
  for (int writers = 1; writers <= 3; ++writers) {
    save_dealt(writers);
    // Nine samples and two that are dealt, whatever the number of their pieces.
    const auto text = "saved checkpoint-" + std::to_string(writers) + ": 11 tensors, 9.2 MB in ";
    EXPECT_THAT(logger_.infos().back(), StartsWith(text));
    EXPECT_EQ(logger_.infos().size(), static_cast<std::size_t>(writers)) << "rank 0 alone tells";
  }
}

TEST_F(RoundTripTest, PiecesThatLeaveAGapOrOverlapAreRefused) {
  const auto save_pieces = [&](std::int64_t shift) {
    return thrown_everywhere(2, [&](Communicator& comm) {
      Hdf5CheckpointStore store{comm, logger_, options()};
      auto dealt = dealt_tensors();
      auto mine = pieces_of(dealt.views(), comm.rank(), 2);
      auto& first = mine.front();
      if (comm.rank() == 0) {
        const auto size = static_cast<std::int64_t>(first.bytes.size()) + 4 * shift;
        first.bytes = {first.bytes.data(), static_cast<std::size_t>(size)};
      }
      store.save({1, mine, "{}", {}});
    });
  };
  EXPECT_THAT(save_pieces(-1).text, HasSubstr("lacks a piece of exp_avg/a"));
  EXPECT_THAT(save_pieces(+1).text, HasSubstr("lists exp_avg/a twice"));
  EXPECT_THAT(leftovers(), IsEmpty());
}

TEST_F(RoundTripTest, NewestIsByStepNotByName) {
  save(9, 1);
  save(10, 2);
  save(100, 3);
  fs::create_directories(run_ / "checkpoint-0999");   // none of these is a name of ours
  fs::create_directories(run_ / "checkpoint-200-old");
  write_file(run_ / "checkpoint-300", "a file");
  EXPECT_EQ(newest(2), checkpoint(100));
  EXPECT_THAT(checkpoints::list_checkpoints(run_),
              ElementsAre(checkpoint(100), checkpoint(10), checkpoint(9)));
}

TEST_F(RoundTripTest, NothingThereIsNotAnError) {
  EXPECT_EQ(newest(3), std::nullopt);
  EXPECT_THAT(checkpoints::list_checkpoints(run_), IsEmpty());
  fs::create_directories(run_);
  EXPECT_EQ(newest(3), std::nullopt);
}

TEST_F(RoundTripTest, RunDirectoryMayBeDeepNewAndALink) {
  fs::create_directories(root_ / "elsewhere");
  fs::create_directory_symlink(root_ / "elsewhere", root_ / "link");
  run_ = root_ / "link" / "a" / "b";
  save(1, 1, 2);
  EXPECT_TRUE(holds(checkpoint(1), 1));
  run_ = root_ / "link";
  save(1, 1, 2);
  EXPECT_TRUE(holds(checkpoint(1), 1));
}

TEST_F(RoundTripTest, FilesOfOtherProgramsAreInsideWhenItIsPublished) {
  int calls = 0;
  ThreadWorld{2}.run([&](Communicator& comm) {
    Hdf5CheckpointStore store{comm, logger_, options()};
    auto tensors = sample_tensors(1);
    auto content = content_of(tensors, 4, 1);
    content.add_files = [&](const fs::path& folder) {
      ++calls;
      EXPECT_FALSE(fs::exists(checkpoint(4)));
      write_file(folder / "config.json", "{\"n\": 1}");
      fs::create_directories(folder / "extra" / "deep");
      write_file(folder / "extra" / "deep" / "vocab.txt", "a\nb\n");
    };
    store.save(content);
    EXPECT_EQ(find_newest(store), checkpoint(4));
  });
  EXPECT_EQ(calls, 1);
  EXPECT_EQ(read_file(checkpoint(4) / "config.json"), "{\"n\": 1}");
  EXPECT_EQ(read_file(checkpoint(4) / "extra/deep/vocab.txt"), "a\nb\n");
  write_file(checkpoint(4) / "extra" / "deep" / "vocab.txt", "a\nc\n");
  EXPECT_FALSE(checkpoints::inspect_checkpoint(checkpoint(4)).verified());
}

TEST_F(RoundTripTest, AFailingAddFilesPublishesNothing) {
  save(1, 1);
  const auto thrown = thrown_everywhere(2, [&](Communicator& comm) {
    Hdf5CheckpointStore store{comm, logger_, options()};
    auto tensors = sample_tensors(2);
    auto content = content_of(tensors, 2, 2);
    content.add_files = [](const fs::path& folder) {
      fs::copy_file(folder / "not there", folder / "copy");
    };
    store.save(content);
  });
  EXPECT_EQ(thrown.code, ExitCode::Io);
  EXPECT_THAT(thrown.text, AllOf(HasSubstr("checkpoint-2"), HasSubstr("not there")));
  EXPECT_THAT(leftovers(), IsEmpty());
  EXPECT_EQ(newest(), checkpoint(1));

  const auto linked = thrown_everywhere(2, [&](Communicator& comm) {
    Hdf5CheckpointStore store{comm, logger_, options()};
    auto tensors = sample_tensors(2);
    auto content = content_of(tensors, 2, 2);
    content.add_files = [](const fs::path& folder) {
      fs::create_symlink("/etc/hostname", folder / "config.json");
    };
    store.save(content);
  });
  EXPECT_THAT(linked.text, HasSubstr("config.json is neither a file nor a folder"));
  EXPECT_THAT(leftovers(), IsEmpty());
}

TEST_F(RoundTripTest, EveryMisfitIsListedAndNothingIsRead) {
  save(3, 1, 2);
  const auto thrown = thrown_everywhere(2, [&](Communicator& comm) {
    Hdf5CheckpointStore store{comm, logger_, options()};
    Tensors wanted{9};
    wanted.add("model/wte.weight", DType::Float32, {8, 50})
        .add("model/half", DType::BFloat16, {7})
        .add("random", DType::UInt8, {16})
        .add("model/absent", DType::Float32, {1})
        .add("exp_avg/absent", DType::Float32, {1});
    const auto before = wanted;
    try {
      store.load_tensors(checkpoint(3), wanted.views());
    } catch (...) {
      EXPECT_EQ(wanted, before);
      throw;
    }
  });
  EXPECT_EQ(thrown.code, ExitCode::InvalidData);
  EXPECT_THAT(thrown.text, HasSubstr("model/wte.weight: expected float32[8, 50], the checkpoint "
                                     "has float32[50, 8]"));
  EXPECT_THAT(thrown.text, HasSubstr("model/half: expected bfloat16[7]"));
  EXPECT_THAT(thrown.text, HasSubstr("model/absent: not in the checkpoint"));
  EXPECT_THAT(thrown.text, HasSubstr("exp_avg/absent: not in the checkpoint"));
  EXPECT_THAT(thrown.text, Not(HasSubstr("random")));
}

TEST_F(RoundTripTest, AMissingFolderIsMissingInput) {
  for (const bool state : {true, false}) {
    const auto thrown = thrown_everywhere(2, [&](Communicator& comm) {
      Hdf5CheckpointStore store{comm, logger_, options()};
      state ? (void)store.load_state(checkpoint(8)) : store.load_tensors(checkpoint(8), {});
    });
    EXPECT_EQ(thrown.code, ExitCode::MissingInput);
    EXPECT_THAT(thrown.text, HasSubstr(checkpoint(8).string()));
  }
}

TEST_F(RoundTripTest, WrongContentIsRefusedOnEveryRankBeforeAnythingIsWritten) {
  struct Case {
    std::function<void(CheckpointContent&, int rank)> spoil;
    const char* message;
  };
  std::vector<std::byte> byte(1);
  const TensorBytes extra{"model/extra", DType::UInt8, {1}, byte};
  const std::vector<Case> cases{
      {[](auto& content, int rank) { if (rank == 1) content.state_json = "{}"; }, "out of step"},
      {[](auto& content, int rank) { if (rank == 1) content.tensors.pop_back(); }, "out of step"},
      {[](auto& content, int rank) { if (rank == 1) content.tensors[0].shape = {8, 50}; },
       "out of step"},
      {[](auto& content, int rank) { if (rank == 1) content.tensors[0].shape = {8}; },
       "shape and dtype need 32"},
      {[](auto& content, int) { content.state_json = "{"; }, "not JSON"},
      {[](auto& content, int) { content.step = -1; }, "negative"},
      {[](auto& content, int) { content.tensors[0].name = "../wte"; }, "not a tensor name"},
      {[](auto& content, int) { content.tensors[0].name = "a b"; }, "not a tensor name"},
      {[](auto& content, int) { content.tensors[0].name = "a//b"; }, "not a tensor name"},
      {[](auto& content, int) { content.tensors[0].name = std::string(257, 'a'); },
       "not a tensor name"},
      {[](auto& content, int) { content.tensors[1].name = content.tensors[0].name; },
       "two tensors are called"},
      {[&](auto& content, int) {
         content.tensors = {extra, extra};
         content.tensors[1].name = "model/extra/below";
       },
       "HDF5 cannot create the group tensors/model/extra: H5Gcreate2"},
  };
  for (const auto& [spoil, message] : cases) {
    const auto thrown = thrown_everywhere(2, [&](Communicator& comm) {
      Hdf5CheckpointStore store{comm, logger_, options()};
      auto tensors = sample_tensors(1);
      auto content = content_of(tensors, 1, 1);
      spoil(content, comm.rank());
      // Both go to one file, or their names would not meet.
      if (content.tensors.size() == 2) {
        Tensors large{1};
        large.add("model/other", DType::UInt8, {64});
        content.tensors.push_back(large.views()[0]);
        store.save(content);
        return;
      }
      store.save(content);
    });
    EXPECT_EQ(thrown.code, ExitCode::Internal) << thrown.text;
    EXPECT_THAT(thrown.text, HasSubstr(message));
    if (fs::exists(run_)) {
      EXPECT_THAT(leftovers(), IsEmpty());
    }
  }
  EXPECT_EQ(newest(), std::nullopt);
}

TEST_F(RoundTripTest, RanksAtDifferentStepsAreToldSo) {
  ThreadWorld{3}.run([&](Communicator& comm) {
    Hdf5CheckpointStore store{comm, logger_, options()};
    auto tensors = sample_tensors(1);
    const auto thrown =
        thrown_by([&] { store.save(content_of(tensors, comm.rank() == 2 ? 8 : 7, 1)); });
    EXPECT_EQ(thrown.code, ExitCode::Internal);
    EXPECT_THAT(thrown.text, HasSubstr("rank 2 has other tensor names, shapes, state or step"));
  });
}

TEST_F(RoundTripTest, EqualContentGivesEqualBytes) {
  /// But for the name of the run, and the digest of that.
  const auto manifest = [&] {
    auto text = read_file(checkpoint(1) / "manifest.json");
    const auto json = nlohmann::json::parse(text);
    for (const char* key : {"run", "manifest_sha256"}) {
      const auto value = json.at(key).get<std::string>();
      EXPECT_GE(value.size(), 16U);
      text.replace(text.find(value), value.size(), key);
    }
    return text;
  };
  save(1, 1, 2);
  const auto file = read_file(checkpoint(1) / "rank-00001-of-00002.h5");
  const auto first = manifest();
  fs::remove_all(run_);  // another start in the same folder would be another epoch
  save(1, 1, 2);
  EXPECT_EQ(read_file(checkpoint(1) / "rank-00001-of-00002.h5"), file);
  EXPECT_EQ(manifest(), first);
}

TEST_F(RoundTripTest, TheManifestIsPlainJson) {
  save(12, 1, 2);
  const auto json = nlohmann::json::parse(read_file(checkpoint(12) / "manifest.json"));
  EXPECT_EQ(json.at("format"), "hone-checkpoint");
  EXPECT_EQ(json.at("format_version"), 3);
  EXPECT_EQ(json.at("step"), 12);
  EXPECT_EQ(json.at("world_size"), 2);
  EXPECT_EQ(json.at("tensors").size(), 9U);
  EXPECT_EQ(json.at("state"), state_of(1));
}

/// Saved behind the caller, which goes on to change what it has.
TEST_F(RoundTripTest, WhatIsWrittenBehindIsACopy) {
  for (const int ranks : {1, 3}) {
    fs::remove_all(run_);
    distributed::ThreadWorld{ranks}.run([&](Communicator& comm) {
      Hdf5CheckpointStore store{comm, logger_, options()};
      EXPECT_FALSE(store.save_is_settled());
      for (const unsigned step : {1U, 2U}) {
        auto tensors = sample_tensors(step);
        store.prepare_saves(tensors.views());
        store.start_save(content_of(tensors, step, step));
        tensors.clear_bytes();
        EXPECT_EQ(store.finish_save(), checkpoint(step));
        EXPECT_FALSE(store.save_is_settled());
      }
    });
    EXPECT_TRUE(holds(checkpoint(1), 1));
    EXPECT_TRUE(holds(checkpoint(2), 2));
    EXPECT_THAT(leftovers(), IsEmpty());
  }
}

/// Before a run trains, and before anything is written.
TEST_F(RoundTripTest, MorePiecesThanAManifestHasRoomForAreRefusedAtOnce) {
  distributed::ThreadWorld{2}.run([&](Communicator& comm) {
    Hdf5CheckpointStore store{comm, logger_, options()};
    constexpr std::int64_t kMost = 100'000;
    const auto pieces = [&](std::int64_t count) {
      std::vector<TensorBytes> mine;
      for (std::int64_t i = comm.rank(); i < count; i += comm.size()) {
        mine.push_back({"split", DType::UInt8, {count}, {}, i, /*is_dealt=*/true});
      }
      return mine;
    };
    EXPECT_NO_THROW(store.require_room(pieces(kMost)));
    const auto too_many = pieces(kMost + 1);
    const auto thrown = thrown_by([&] { store.require_room(too_many); });
    EXPECT_EQ(thrown.code, ExitCode::Usage);
    EXPECT_THAT(thrown.text, AllOf(HasSubstr("100001 tensors and pieces"), HasSubstr("--ddp_bucket_cap_mb")));
    const CheckpointContent content{.step = 1, .tensors = too_many, .state_json = "{}"};
    EXPECT_EQ(thrown_by([&] { store.save(content); }).code, ExitCode::Usage);
  });
  EXPECT_FALSE(fs::exists(run_));
}

TEST_F(RoundTripTest, RankZeroKnowsByItselfThatACheckpointIsPublished) {
  distributed::ThreadWorld{3}.run([&](Communicator& comm) {
    Hdf5CheckpointStore store{comm, logger_, options()};
    auto tensors = sample_tensors(1);
    store.start_save(content_of(tensors, 1, 1));
    while (comm.rank() == 0 && !store.save_is_settled()) std::this_thread::yield();
    EXPECT_EQ(comm.rank() == 0, store.save_is_settled());
    if (comm.rank() == 0) EXPECT_TRUE(fs::exists(checkpoint(1) / "manifest.json"));
    store.finish_save();
  });
}

TEST_F(RoundTripTest, AStoreThatEndsHasWrittenWhatItBegan) {
  distributed::ThreadWorld{3}.run([&](Communicator& comm) {
    Hdf5CheckpointStore store{comm, logger_, options()};
    auto tensors = sample_tensors(1);
    store.start_save(content_of(tensors, 1, 1));
  });
  EXPECT_EQ(newest(), checkpoint(1));
  EXPECT_TRUE(holds(checkpoint(1), 1));
}

}  // namespace
}  // namespace hone::testing
