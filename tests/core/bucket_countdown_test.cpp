#include "plans/bucket_countdown.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <initializer_list>
#include <thread>
#include <vector>

#include "hone/core/error.hpp"

namespace hone::testing {
namespace {

/// Three parameters in two buckets of 32 elements of one buffer; what was started, in order.
class Countdown : public ::testing::Test {
 protected:
  using Bucket = detail::BucketCountdown::Bucket;

  std::vector<std::int64_t> started() {
    std::vector<std::int64_t> indices;
    for (const auto& bucket : started_) indices.push_back(bucket.index);
    started_.clear();
    return indices;
  }
  /// A pass that writes these, in their order.
  void pass(std::initializer_list<std::size_t> writes) {
    countdown_.begin();
    for (const auto parameter : writes) countdown_.wrote(parameter);
  }

  std::vector<Bucket> started_;
  detail::BucketCountdown countdown_{
      std::vector<detail::BucketCountdown::Place>{{0, {0, 20}}, {0, {20, 20}}, {0, {40, 24}}},
      std::vector<BufferPartition>{{64, 2, 32}},
      [this](const Bucket& bucket) { started_.push_back(bucket); }};
};

TEST_F(Countdown, LearnsAPassAndThenStartsBucketsAsTheyAreComplete) {
  pass({2, 1, 0});
  EXPECT_EQ(started().size(), 0U);
  countdown_.finish();
  EXPECT_EQ(started(), (std::vector<std::int64_t>{1, 0}));
  countdown_.begin();
  countdown_.wrote(2);
  EXPECT_EQ(started().size(), 0U);  // parameter 1 lies in both buckets
  countdown_.wrote(1);
  EXPECT_EQ(started(), (std::vector<std::int64_t>{1}));
  countdown_.wrote(0);
  EXPECT_EQ(started(), (std::vector<std::int64_t>{0}));
  countdown_.finish();
  EXPECT_EQ(started().size(), 0U);
}

TEST_F(Countdown, StartsInOneOrderWhateverIsCompleteFirst) {
  pass({2, 1, 0});
  countdown_.finish();
  started();
  pass({0, 1});
  EXPECT_EQ(started().size(), 0U);  // the first bucket in the order waits for parameter 2
  countdown_.wrote(2);
  EXPECT_EQ(started(), (std::vector<std::int64_t>{1, 0}));
}

TEST_F(Countdown, TiedWeightsAreSentAfterTheirLastWrite) {
  pass({0, 2, 1, 0});
  countdown_.finish();
  started();
  pass({0, 2, 1});
  EXPECT_EQ(started(), (std::vector<std::int64_t>{1}));
  countdown_.wrote(0);
  EXPECT_EQ(started(), (std::vector<std::int64_t>{0}));
}

TEST_F(Countdown, ParametersThatAreNotWrittenAndRanksWithoutWorkSendAtTheEnd) {
  pass({2, 1});  // 0 is frozen, or unused
  countdown_.finish();
  EXPECT_EQ(started(), (std::vector<std::int64_t>{1, 0}));
  pass({2, 1});
  EXPECT_EQ(started(), (std::vector<std::int64_t>{1}));
  countdown_.finish();
  EXPECT_EQ(started(), (std::vector<std::int64_t>{0}));
  countdown_.finish();  // no pass at all
  EXPECT_EQ(started(), (std::vector<std::int64_t>{1, 0}));
}

TEST_F(Countdown, NobodyWaitsForFrozenParameters) {
  const std::vector<std::size_t> last_layer{2};
  pass({2, 1, 0});
  countdown_.finish();
  started();
  for (int update = 0; update < 3; ++update) {
    countdown_.begin(last_layer);
    countdown_.wrote(2);  // as told of the head's weight, frozen or not
    EXPECT_EQ(started().size(), 0U) << "parameter 1 lies in the same bucket";
    countdown_.wrote(1);
    EXPECT_EQ(started(), (std::vector<std::int64_t>{1}));
    countdown_.wrote(0);
    EXPECT_EQ(started(), (std::vector<std::int64_t>{0}));
    countdown_.finish();
  }
  pass({1, 0});  // no longer
  EXPECT_EQ(started().size(), 0U);
  countdown_.wrote(2);
  countdown_.finish();
  started();
  pass({2, 1});
  EXPECT_EQ(started(), (std::vector<std::int64_t>{1}));
}

TEST_F(Countdown, AWriteAfterSendingIsAnError) {
  pass({2, 1, 0});
  countdown_.finish();
  pass({2, 1});
  EXPECT_THAT([&] { countdown_.wrote(2); },
              ::testing::ThrowsMessage<Error>(::testing::HasSubstr("after it was sent")));
  started();
  countdown_.finish();
  EXPECT_EQ(started(), (std::vector<std::int64_t>{0}));
}

TEST_F(Countdown, AWriteMoreThanBeforeDelaysABucketThatIsNotSentYet) {
  pass({2, 1, 0});
  countdown_.finish();
  started();
  pass({1, 1, 2});
  EXPECT_EQ(started().size(), 0U);
  countdown_.finish();
  EXPECT_EQ(started(), (std::vector<std::int64_t>{1, 0}));
  pass({2, 1, 1});
  EXPECT_EQ(started(), (std::vector<std::int64_t>{1}));
}

TEST_F(Countdown, LearnsNothingOfAPassThatFailed) {
  pass({2, 1});
  countdown_.wrote(0);  // a tied weight, whose second write never came
  countdown_.finish(/*has_succeeded=*/false);
  EXPECT_EQ(started().size(), 2U);
  pass({2, 1, 0, 0});
  countdown_.finish();
  EXPECT_EQ(started(), (std::vector<std::int64_t>{1, 0}));
  pass({2, 1, 0});
  EXPECT_EQ(started(), (std::vector<std::int64_t>{1}));
}

TEST_F(Countdown, WritesOutsideOfAPassDoNotCount) {
  countdown_.wrote(0);
  countdown_.finish();
  EXPECT_EQ(started().size(), 2U);
}

/// The backward pass has a thread of its own: the one that begins and finishes passes hands over to it.
TEST_F(Countdown, APassMayRunOnAnotherThread) {
  pass({2, 1, 0});
  countdown_.finish();
  started();
  countdown_.begin();
  std::thread{[&] {
    for (const std::size_t parameter : {2, 1, 0}) countdown_.wrote(parameter);
  }}.join();
  countdown_.finish();
  EXPECT_EQ(started(), (std::vector<std::int64_t>{1, 0}));
}

}  // namespace
}  // namespace hone::testing
