#include "worker/together.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "comm/thread_communicator.h"

namespace molora {
namespace {

using ::testing::ElementsAre;

// Runs `work` on each of `ranks` rank threads; what each rank's exception says, with its code.
std::vector<std::string> outcomes(int ranks, const std::function<void(int)>& work) {
  std::vector<std::string> texts(static_cast<size_t>(ranks), "went on");
  run_rank_threads(ranks, [&](Communicator& world) {
    try {
      together(world, [&] { work(world.rank()); });
    } catch (const FailedTogether& error) {
      texts[static_cast<size_t>(world.rank())] =
          std::to_string(static_cast<int>(error.exit_code())) + " " + error.what();
    }
  });
  return texts;
}

TEST(Together, EveryRankGoesOnWhenAllSucceed) {
  EXPECT_THAT(outcomes(3, [](int) {}), ElementsAre("went on", "went on", "went on"));
}

TEST(Together, AFailureOfOneRankStopsAllAndIsSaidOnce) {
  EXPECT_THAT(outcomes(3,
                       [](int rank) {
                         if (rank == 1) throw IoError("disk gone");
                       }),
              ElementsAre("74 ", "74 disk gone", "74 "));
}

TEST(Together, TheSameFailureEverywhereIsSaidOnceByRankZero) {
  EXPECT_THAT(outcomes(3, [](int) { throw ConfigError("wrong file"); }),
              ElementsAre("64 wrong file", "64 ", "64 "));
}

TEST(Together, TheLowestFailingRankSpeaksForTheOthers) {
  EXPECT_THAT(outcomes(4,
                       [](int rank) {
                         if (rank >= 2) throw DataError("line 3 of rank " + std::to_string(rank));
                       }),
              ElementsAre("64 ", "64 ", "64 line 3 of rank 2 (on ranks 2, 3)", "64 "));
}

TEST(Together, AnUnknownExceptionIsAnInternalFault) {
  EXPECT_THAT(outcomes(2,
                       [](int rank) {
                         if (rank == 0) throw std::runtime_error("odd");
                       }),
              ElementsAre("70 odd", "70 "));
}

TEST(Together, AWorldOfOneLetsTheErrorPass) {
  const auto alone = make_single_communicator("world");
  EXPECT_THROW(together(*alone, [] { throw ConfigError("x"); }), ConfigError);
}

TEST(OnRankZero, EveryRankGetsItsText) {
  run_rank_threads(3, [](Communicator& world) {
    int calls = 0;
    EXPECT_EQ(on_rank_zero(world,
                           [&] {
                             ++calls;
                             return std::string("text of rank 0");
                           }),
              "text of rank 0");
    EXPECT_EQ(calls, world.rank() == 0 ? 1 : 0);
  });
}

}  // namespace
}  // namespace molora
