// From what a user passes to step() to one list of rows, of which each rank holds its own.
#include "hone/core/training/batch_rows.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <chrono>
#include <functional>

#include "fakes/letter_tokenizer.hpp"
#include "hone/core/error.hpp"
#include "hone/distributed/loopback_communicator.hpp"
#include "hone/distributed/thread_world.hpp"

namespace hone {
namespace {

using ::testing::AllOf;
using ::testing::Each;
using ::testing::ElementsAre;
using ::testing::HasSubstr;

using testing::LetterTokenizer;

constexpr RowRules kRules{.vocab_size = 37, .max_length = 64};

GlobalRows rows_of(const Batch& batch, const RowRules& rules = kRules) {
  distributed::LoopbackCommunicator comm;
  return agreed_rows(comm, batch, rules);
}

TEST(BatchRows, LabelsDefaultToTheIds) {
  EXPECT_THAT(rows_of({.input_ids = {{3, 4}}}).rows, ElementsAre(TokenRow{{3, 4}, {3, 4}}));
}

TEST(BatchRows, MasksDropPaddingOnEitherSide) {
  const auto rows = rows_of({.input_ids = {{0, 0, 3, 4}, {3, 4, 0, 0}},
                             .attention_mask = {{0, 0, 1, 1}, {1, 1, 0, 0}}})
                        .rows;
  ASSERT_EQ(rows.size(), 2U);
  EXPECT_THAT(rows[0].ids, ElementsAre(3, 4));
  EXPECT_THAT(rows[1].ids, ElementsAre(3, 4));
  EXPECT_EQ(rows[0].num_targets(), 1);
  EXPECT_EQ(rows[1].num_targets(), 1);
}

TEST(BatchRows, PaddingIsKnownByMaskNotById) {
  const auto rows = rows_of({.input_ids = {{3, 2, 2}}, .attention_mask = {{1, 1, 0}}}).rows;
  EXPECT_THAT(rows[0].labels, ElementsAre(::testing::_, 2));
}

TEST(BatchRows, ATokenBehindAGapIsNoTarget) {
  const auto rows = rows_of({.input_ids = {{3, 4, 5, 6}}, .attention_mask = {{1, 0, 1, 1}}}).rows;
  EXPECT_THAT(rows[0].ids, ElementsAre(3, 5, 6));
  EXPECT_THAT(rows[0].labels, ElementsAre(kIgnoredLabel, kIgnoredLabel, 6));
}

TEST(BatchRows, Row14_SpecialTokensOfATextAreCutLikeOthers) {
  LetterTokenizer tokenizer;
  tokenizer.begins = true;
  auto rules = kRules;
  rules.tokenizer = &tokenizer;
  rules.max_length = 3;
  EXPECT_THAT(rows_of({.texts = {"abcd"}}, rules).rows[0].ids, ElementsAre(4, 5, 6));
  rules.truncation_mode = TruncationMode::KeepStart;
  EXPECT_THAT(rows_of({.texts = {"abcd"}}, rules).rows[0].ids, ElementsAre(1, 3, 4));
}

TEST(BatchRows, TruncationCutsIdsAndLabelsAlike) {
  const Batch batch{.input_ids = {{3, 4, 5}, {6, 7}}, .labels = {{-100, 4, 5}, {6, 7}}};
  auto rules = kRules;
  rules.max_length = 2;
  const auto end = rows_of(batch, rules);
  EXPECT_THAT(end.rows, ElementsAre(TokenRow{{4, 5}, {4, 5}}, TokenRow{{6, 7}, {6, 7}}));
  EXPECT_EQ(end.truncated, 1);
  rules.truncation_mode = TruncationMode::KeepStart;
  EXPECT_THAT(rows_of(batch, rules).rows,
              ElementsAre(TokenRow{{3, 4}, {-100, 4}}, TokenRow{{6, 7}, {6, 7}}));
}

TEST(BatchRows, Row23_TextsAreTokenized) {
  const LetterTokenizer tokenizer;
  auto rules = kRules;
  rules.tokenizer = &tokenizer;
  EXPECT_THAT(rows_of({.texts = {"abc", "d"}}, rules).rows,
              ElementsAre(TokenRow{{3, 4, 5}, {3, 4, 5}}, TokenRow{{6}, {6}}));
  rules.append_eos = true;
  EXPECT_THAT(rows_of({.texts = {"ab"}}, rules).rows, ElementsAre(TokenRow{{3, 4, 2}, {3, 4, 2}}));
}

TEST(BatchRows, OfATextAndItsLabelTheLabelIsTrained) {
  const LetterTokenizer tokenizer;
  auto rules = kRules;
  rules.tokenizer = &tokenizer;
  EXPECT_THAT(rows_of({.texts = {"ab", "c"}, .texts_labels = {"d", "ef"}}, rules).rows,
              ElementsAre(TokenRow{{3, 4, 6, 2}, {-100, -100, 6, 2}},
                          TokenRow{{5, 7, 8, 2}, {-100, 7, 8, 2}}));
}

/// Rules of an encoder-decoder with start token 1 and pad token 0.
RowRules pair_rules() {
  auto rules = kRules;
  rules.is_encoder_decoder = true;
  rules.decoder_start_id = 1;
  return rules;
}

TEST(BatchRows, ATargetIsATextThatBeginsWithTheStartToken) {
  const auto rows = rows_of({.input_ids = {{3, 4, 5}, {6}}, .labels = {{7}, {8, -100, 9}}}, pair_rules()).rows;
  EXPECT_THAT(rows, ElementsAre(TokenRow{.ids = {1, 7}, .labels = {-100, 7}, .source_ids = {3, 4, 5}},
                                TokenRow{.ids = {1, 8, 0, 9}, .labels = {-100, 8, -100, 9}, .source_ids = {6}}));
  EXPECT_EQ(rows[1].num_targets(), 2);
  EXPECT_EQ(rows[0].num_tokens(), 5);
}

TEST(BatchRows, PaddingOfSourcesOnEitherSideAndBehindTargetsIsDropped) {
  const TokenRow expected{.ids = {1, 7, 8}, .labels = {-100, 7, 8}, .source_ids = {3, 4}};
  EXPECT_THAT(rows_of({.input_ids = {{0, 3, 4}, {3, 4, 0}},
                       .attention_mask = {{0, 1, 1}, {1, 1, 0}},
                       .labels = {{7, 8}, {7, 8, -100}}}, pair_rules()).rows,
              ElementsAre(expected, expected));
}

TEST(BatchRows, SourceAndTargetAreCutEachForItself) {
  auto rules = pair_rules();
  rules.max_length = 2;
  const Batch batch{.input_ids = {{3, 4, 5}}, .labels = {{6, 7, 8}}};
  const auto end = rows_of(batch, rules);
  EXPECT_THAT(end.rows, ElementsAre(TokenRow{.ids = {1, 7, 8}, .labels = {-100, 7, 8}, .source_ids = {4, 5}}));
  EXPECT_EQ(end.truncated, 1);
  rules.truncation_mode = TruncationMode::KeepStart;
  EXPECT_THAT(rows_of(batch, rules).rows,
              ElementsAre(TokenRow{.ids = {1, 6, 7}, .labels = {-100, 6, 7}, .source_ids = {3, 4}}));
}

TEST(BatchRows, HeadersCountSourcesAndTargets) {
  distributed::ThreadWorld{2}.run([&](Communicator& comm) {
    const std::int64_t own = 3 + comm.rank();
    const Batch mine{.input_ids = {{own, own, own}}, .labels = {{own}}, .scope = BatchScope::PerRank};
    const auto all = agreed_rows(comm, mine, pair_rules());
    ASSERT_EQ(all.size(), 2);
    EXPECT_EQ(all.headers[1 - static_cast<std::size_t>(comm.rank())].num_tokens, 5);
    EXPECT_NE(all.headers[0].digest, all.headers[1].digest);
  });
}

TEST(BatchRows, ATargetMustNotBeEmpty) {
  EXPECT_THROW(rows_of({.input_ids = {{3}}, .labels = {{}}}, pair_rules()), InputError);
  const auto ignored = rows_of({.input_ids = {{3}}, .labels = {{-100, -100}}}, pair_rules()).rows;
  EXPECT_EQ(ignored[0].num_targets(), 0);
}

TEST(BatchRows, DigestsTellWeightsApart) {
  distributed::ThreadWorld{2}.run([&](Communicator& comm) {
    const Batch mine{.input_ids = {{3, 4}},
                     .weights = {comm.rank() == 0 ? 0.25 : 3.0},
                     .scope = BatchScope::PerRank};
    const auto all = agreed_rows(comm, mine, kRules);
    ASSERT_EQ(all.size(), 2);
    EXPECT_NE(all.headers[0].digest, all.headers[1].digest);
    EXPECT_EQ(all.rows[static_cast<std::size_t>(comm.rank())].weight, mine.weights[0]);
  });
}

/// What all of three ranks say alike, within 5 s, about batches that do not fit together; they stay
/// in step.
std::string refused(const std::function<Batch(int rank)>& batch_of) {
  std::vector<std::string> messages(3);
  distributed::ThreadWorld{3}.run([&](Communicator& comm) {
    const auto started = std::chrono::steady_clock::now();
    try {
      agreed_rows(comm, batch_of(comm.rank()), kRules);
    } catch (const InputError& error) {
      messages[static_cast<std::size_t>(comm.rank())] = error.what();
    }
    EXPECT_LT(std::chrono::steady_clock::now() - started, std::chrono::seconds{5});
    EXPECT_EQ(agreed_rows(comm, {.input_ids = {{5}}}, kRules).rows.size(), 1U);
  });
  EXPECT_THAT(messages, Each(messages[0]));
  return messages[0];
}

struct BadBatch {
  const char* name;
  Batch batch;
  const char* says;
};

class BadBatches : public ::testing::TestWithParam<BadBatch> {};

TEST_P(BadBatches, AreRefusedOnEveryRankAlike) {
  const auto says = refused([](int rank) {
    Batch batch = rank == 1 ? GetParam().batch : Batch{.input_ids = {{3, 4}}};
    batch.scope = BatchScope::PerRank;
    return batch;
  });
  EXPECT_THAT(says, AllOf(HasSubstr(GetParam().says), HasSubstr("rank 1")));
}

INSTANTIATE_TEST_SUITE_P(
    All, BadBatches,
    ::testing::Values(
        BadBatch{"Row20_IdTooLarge", {.input_ids = {{3}, {3, 37}}}, "input_ids[1] holds id 37"},
        BadBatch{"IdNegative", {.input_ids = {{-1}}}, "input_ids[0] holds id -1"},
        BadBatch{"NoIds", {.input_ids = {{3}, {}}}, "input_ids[1] is empty"},
        BadBatch{"Row22_FewerLabelLists", {.input_ids = {{3}, {4}}, .labels = {{3}}},
                 "labels has 1 samples"},
        BadBatch{"FewerMasks", {.input_ids = {{3}, {4}}, .attention_mask = {{1}}},
                 "attention_mask has 1 samples"},
        BadBatch{"ShortLabels", {.input_ids = {{3, 4}}, .labels = {{3}}}, "labels[0] has 1"},
        BadBatch{"Row21_ShortMask", {.input_ids = {{3, 4}}, .attention_mask = {{1}}},
                 "attention_mask[0] has 1"},
        BadBatch{"BadLabel", {.input_ids = {{3, 4}}, .labels = {{3, -1}}}, "labels[0] holds -1"},
        BadBatch{"LabelTooLarge", {.input_ids = {{3, 4}}, .labels = {{3, 37}}},
                 "labels[0] holds 37"},
        BadBatch{"MaskOfTwo", {.input_ids = {{3}}, .attention_mask = {{2}}}, "0 and 1 only"},
        BadBatch{"AllHidden", {.input_ids = {{3}}, .attention_mask = {{0}}}, "hides every token"},
        BadBatch{"Row26_TextsAndIds", {.texts = {"a"}, .input_ids = {{3}}}, "both texts and input_ids"},
        BadBatch{"TextsWithoutTokenizer", {.texts = {"a"}}, "need a tokenizer"},
        BadBatch{"LabelsAlone", {.labels = {{3}}}, "input_ids, which are missing"},
        BadBatch{"TextLabelsAlone", {.texts_labels = {"a"}}, "texts, which are missing"},
        BadBatch{"FewerWeights", {.input_ids = {{3}, {4}}, .weights = {1.0}}, "weights has 1"},
        BadBatch{"NegativeWeight", {.input_ids = {{3}}, .weights = {-1.0}}, "weights[0] must be"},
        BadBatch{"InfiniteWeight", {.input_ids = {{3}}, .weights = {1.0 / 0.0}},
                 "weights[0] must be"},
        BadBatch{"ShortOrder", {.input_ids = {{3}, {4}}, .order = {1}}, "order has 1"}),
    [](const auto& info) { return info.param.name; });

/// The ids of every row in the order that all ranks agree on, each from its holder, which alone has
/// it.
std::vector<TokenIds> exchanged(int num_ranks, const std::function<Batch(int rank)>& batch_of) {
  std::vector<GlobalRows> of_ranks(static_cast<std::size_t>(num_ranks));
  distributed::ThreadWorld{num_ranks}.run([&](Communicator& comm) {
    of_ranks[static_cast<std::size_t>(comm.rank())] =
        agreed_rows(comm, batch_of(comm.rank()), kRules);
  });
  std::vector<TokenIds> ids;
  for (std::size_t place = 0; place < of_ranks[0].headers.size(); ++place) {
    const int holder = of_ranks[0].headers[place].holder;
    for (int rank = 0; rank < num_ranks; ++rank) {
      const auto& rows = of_ranks[static_cast<std::size_t>(rank)];
      EXPECT_EQ(rows.headers[place].holder, holder);
      EXPECT_EQ(rows.rows[place].ids.empty(), rank != holder)
          << "row " << place << ", rank " << rank;
      if (rank == holder) ids.push_back(rows.rows[place].ids);
    }
  }
  return ids;
}

TEST(BatchScopes, PerRankJoinsInRankOrder) {
  const auto ids = exchanged(3, [](int rank) {
    const std::vector<std::vector<TokenIds>> mine{{{3}, {4, 5}}, {}, {{6}}};
    return Batch{.input_ids = mine[static_cast<std::size_t>(rank)], .scope = BatchScope::PerRank};
  });
  EXPECT_THAT(ids, ElementsAre(TokenIds{3}, TokenIds{4, 5}, TokenIds{6}));
}

TEST(BatchScopes, PerRankSortsByOrderWhereGiven) {
  const auto ids = exchanged(2, [](int rank) {
    Batch batch{.input_ids = {{3}, {4}}, .scope = BatchScope::PerRank, .order = {9, 2}};
    if (rank == 1) {
      batch.input_ids = {{5}, {6}};
      batch.order = {1, 5};
    }
    return batch;
  });
  EXPECT_THAT(ids, ElementsAre(TokenIds{5}, TokenIds{4}, TokenIds{6}, TokenIds{3}));
}

TEST(BatchScopes, RootShowsItsOwnAndIgnoresTheOthers) {
  const auto ids = exchanged(3, [](int rank) {
    // Rank 2 passes rubbish, which nobody looks at.
    return Batch{.input_ids = {rank == 2 ? TokenIds{99} : TokenIds{3 + rank}},
                 .scope = BatchScope::Root};
  });
  EXPECT_THAT(ids, ElementsAre(TokenIds{3}));
}

TEST(BatchScopes, ReplicatedMustBeReplicated) {
  for (const int odd : {0, 1, 2}) {
    const auto says = refused([&](int rank) {
      return Batch{.input_ids = {{3, 4}, {3, rank == odd ? 5 : 4}}};
    });
    // Rank 0 is what the others are compared with.
    EXPECT_THAT(says, HasSubstr("rank " + std::to_string(odd == 2 ? 2 : 1) +
                                " was given another sample 1 than rank 0"));
  }
  EXPECT_THAT(refused([](int rank) { return Batch{.input_ids = {3, TokenIds(rank == 2 ? 1 : 2, 4)}}; }),
              HasSubstr("rank 2 was given another sample 0"));
  EXPECT_THAT(refused([](int rank) {
                return Batch{.input_ids = std::vector<TokenIds>(rank == 1 ? 2 : 3, TokenIds{3})};
              }),
              HasSubstr("rank 1 was given 2 samples and rank 0 3"));
}

TEST(BatchScopes, ReplicatedComparesLabelsAndWeightsToo) {
  const auto labels = [](int rank) {
    return Batch{.input_ids = {{3, 4}}, .labels = {{3, rank == 0 ? 4 : -100}}};
  };
  EXPECT_THAT(refused(labels), HasSubstr("another sample 0"));
  const auto weights = [](int rank) {
    return Batch{.input_ids = {{3}, {4}}, .weights = {1.0, rank == 2 ? 0.5 : 1.0}};
  };
  EXPECT_THAT(refused(weights), HasSubstr("rank 2 was given another sample 1"));
}

TEST(BatchScopes, AllRanksPassTheirOrderOrNone) {
  const auto some = [](int rank) {
    Batch batch{.input_ids = {{3}}, .scope = BatchScope::PerRank};
    if (rank == 1) batch.order = {5};
    return batch;
  };
  EXPECT_THAT(refused(some), HasSubstr("rank 1 passed order and rank 0 did not"));
  const auto ids = exchanged(2, [](int rank) {
    return rank == 0 ? Batch{.scope = BatchScope::PerRank}
                     : Batch{.input_ids = {{3}}, .scope = BatchScope::PerRank, .order = {5}};
  });
  EXPECT_EQ(ids.size(), 1U) << "a rank without samples has none to order";
}

TEST(BatchScopes, AllRanksPassOne) {
  const auto says = refused([](int rank) {
    return Batch{.input_ids = {{3}}, .scope = rank == 1 ? BatchScope::Root : BatchScope::PerRank};
  });
  EXPECT_THAT(says, HasSubstr("by rank: PerRank, Root, PerRank"));
}

TEST(BatchScopes, TruncatedSamplesCountOnce) {
  auto rules = kRules;
  rules.max_length = 2;
  for (const auto scope : {BatchScope::Replicated, BatchScope::Root, BatchScope::PerRank}) {
    distributed::ThreadWorld{2}.run([&](Communicator& comm) {
      const Batch batch{.input_ids = {{3, 4, 5}, {3}}, .scope = scope};
      const auto expected = scope == BatchScope::PerRank ? 2 : 1;
      EXPECT_EQ(agreed_rows(comm, batch, rules).truncated, expected);
    });
  }
}

}  // namespace
}  // namespace hone
