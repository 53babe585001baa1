// How large a table of contents may be. What else is refused: damage_test.cpp, hostile_test.py.
#include "manifest.hpp"

#include <gtest/gtest.h>

#include "digest.hpp"
#include "hone/core/error.hpp"
#include "manifest_format.hpp"

namespace hone::checkpoints::detail {
namespace {

const std::string kDigest = "xxh128:0123456789abcdef0123456789abcdef";

/// As of a model whose optimizer state is dealt in small pieces to two ranks.
Manifest in_pieces(std::int64_t num_pieces) {
  constexpr std::int64_t kBytes = 4096;
  Manifest manifest{.hone_version = "0.1.0", .world_size = 2, .state_json = "{}"};
  for (int rank = 0; rank < 2; ++rank) {
    manifest.rank_files.push_back({rank_file_name(rank, 2), num_pieces * kBytes, kDigest});
  }
  for (std::int64_t i = 0; i < num_pieces; ++i) {
    manifest.tensors.push_back({.name = "exp_avg/model.layers.31.self_attn.q_proj.weight",
                                .dtype = DType::Float32,
                                .shape = {num_pieces, kBytes / 4},
                                .file = rank_file_name(static_cast<int>(i % 2), 2),
                                .offset = i / 2 * kBytes,
                                .bytes = kBytes,
                                .digest = kDigest,
                                .first = i * kBytes / 4});
  }
  return manifest;
}

TEST(Manifest, OfAsManyPiecesAsThereIsRoomForIsRead) {
  const auto pieces = static_cast<std::int64_t>(kMaxTensors);
  const auto written = write_manifest(in_pieces(pieces));
  const auto read = parse_manifest(written);
  ASSERT_EQ(read.tensors.size(), kMaxTensors);
  EXPECT_EQ(read.tensors.back().first, (pieces - 1) * 1024);
  EXPECT_EQ(write_manifest(read), written);
}

TEST(Manifest, OfMorePiecesIsNotWrittenAndSaysWhatToDo) {
  try {
    write_manifest(in_pieces(static_cast<std::int64_t>(kMaxTensors) + 1));
    FAIL();
  } catch (const CheckpointError& error) {
    EXPECT_EQ(error.exit_code(), ExitCode::Usage);
    EXPECT_NE(std::string{error.what()}.find("--ddp_bucket_cap_mb"), std::string::npos);
  }
}

std::string sealed(std::string text) {
  const auto digest = sha256_of(text);
  return text.append(kDigestHead).append(digest).append(kDigestTail);
}

void expect_refused(std::string text, const std::string& reason) {
  try {
    parse_manifest(sealed(std::move(text)));
    FAIL() << "accepted, not refused for: " << reason;
  } catch (const CheckpointError& error) {
    EXPECT_NE(std::string{error.what()}.find(reason), std::string::npos) << error.what();
  }
}

TEST(Manifest, IsRefusedForWhatNoEntryHas) {
  const std::string head =
      R"({"format": "hone-checkpoint", "format_version": 3, "hone_version": "1", "step": 1,)"
      R"( "world_size": 1, "rank_files": [{"file": "rank-00000-of-00001.h5", "bytes": 1, "layout_digest": ")" +
      kDigest + R"("}], "other_files": [], "state": "{}", "tensors": )";
  EXPECT_TRUE(parse_manifest(sealed(head + "[]")).tensors.empty());
  expect_refused(head + "[1]", "tensors is not a list of tensors");
  expect_refused(head + "[[]]", "tensors is not a list of tensors");
  expect_refused(head + "{}", "tensors is not a list of tensors");
  expect_refused(head + R"({"a": {"name": "w"}})", "tensors");
  expect_refused(head + R"([{"name": "w"}])", "key 'dtype' not found");
  expect_refused(R"({"tensors": [{}], )" + head.substr(1, head.size() - 13) + R"("x": 1)",
                 "format_version does not come before tensors");
}

TEST(Manifest, OfALaterVersionIsKnownAsSuchWhateverItsTensorsAre) {
  const auto later = sealed(R"({"tensors": [{"name": [[[[[[[[[1]]]]]]]]]}],)"
                            R"("format": "hone-checkpoint", "format_version": 4)");
  EXPECT_TRUE(is_of_later_version(later));
  EXPECT_THROW(parse_manifest(later), CheckpointError);
  EXPECT_FALSE(is_of_later_version(write_manifest(in_pieces(2))));
}

}  // namespace
}  // namespace hone::checkpoints::detail
