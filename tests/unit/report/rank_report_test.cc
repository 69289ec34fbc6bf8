#include "report/rank_report.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <nlohmann/json.hpp>

#include "base/error.h"
#include "support/expect_throw.h"

namespace molora {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

constexpr uint64_t kGib = uint64_t{1} << 30;

// Ten steps in which every rank works 0.9 s and waits 0.9 s a step.
RankUsages ten_steps(size_t num_ranks) {
  RankUsages usages;
  usages.num_steps = 10;
  for (size_t rank = 0; rank < num_ranks; ++rank) {
    RankUsage usage;
    usage.host = std::string(1, static_cast<char>('a' + rank));
    usage.work_seconds = 9.0;
    usage.waited_seconds = 9.0;
    usage.tokens = 10000;
    usage.peak_memory_bytes = kGib;
    usages.ranks.push_back(usage);
  }
  return usages;
}

RankUsages with_slow_rank(size_t num_ranks, size_t slow) {
  RankUsages usages = ten_steps(num_ranks);
  usages.ranks[slow].work_seconds = 18.0;
  usages.ranks[slow].waited_seconds = 0.0;
  return usages;
}

TEST(Stragglers, EqualRanksAreNone) {
  EXPECT_THAT(straggler_warnings(ten_steps(4), 1.5), IsEmpty());
  EXPECT_THAT(straggler_warnings(ten_steps(1), 1.5), IsEmpty());
}

TEST(Stragglers, ARankThatIsSlowerAtTheSameWorkIsNamed) {
  for (const size_t num_ranks : {2U, 3U, 4U}) {
    EXPECT_THAT(straggler_warnings(with_slow_rank(num_ranks, 1), 1.5),
                ElementsAre("rank 1 (host b): 1.80 s of its own work a step, the others 900 ms; "
                            "all wait for it. It is slower at the same work: its processor is "
                            "throttled or weaker"));
  }
}

TEST(Stragglers, TheFactorDecides) {
  EXPECT_THAT(straggler_warnings(with_slow_rank(3, 1), 2.1), IsEmpty());
  EXPECT_EQ(straggler_warnings(with_slow_rank(3, 1), 1.9).size(), 1u);
}

TEST(Stragglers, ADifferenceThatNobodyNoticesIsNone) {
  RankUsages usages = with_slow_rank(2, 1);
  usages.ranks[0].work_seconds = 0.05;  // 5 ms a step
  usages.ranks[1].work_seconds = 0.14;
  EXPECT_THAT(straggler_warnings(usages, 1.5), IsEmpty());
  usages.ranks[1].work_seconds = 0.16;
  EXPECT_EQ(straggler_warnings(usages, 1.5).size(), 1u);
}

std::string cause_of(const RankUsages& usages) {
  const std::vector<std::string> warnings = straggler_warnings(usages, 1.5);
  return warnings.size() == 1 ? warnings.front() : "";
}

TEST(Stragglers, MoreTokensAreACause) {
  RankUsages usages = with_slow_rank(3, 2);
  usages.ranks[2].tokens = 19000;
  EXPECT_THAT(cause_of(usages), HasSubstr("It had 1900 tokens a step, the others 1000"));
  // A few more do not explain twice the time.
  usages.ranks[2].tokens = 11000;
  EXPECT_THAT(cause_of(usages), HasSubstr("slower at the same work"));
}

TEST(Stragglers, WaitingForAProcessorIsACause) {
  RankUsages usages = with_slow_rank(3, 2);
  usages.ranks[2].run_queue_seconds = 8.0;
  EXPECT_THAT(cause_of(usages),
              HasSubstr("It waited 800 ms a step for a processor: other processes use its cores"));
  usages.ranks[2].run_queue_seconds = 1.0;
  EXPECT_THAT(cause_of(usages), HasSubstr("slower at the same work"));
}

TEST(Stragglers, SwappingIsACause) {
  RankUsages usages = with_slow_rank(3, 2);
  usages.ranks[2].major_faults = 2000;
  EXPECT_THAT(cause_of(usages),
              HasSubstr("It read 200 pages a step back from a disk: its host is short of memory"));
}

TEST(Stragglers, TheSlowestComeFirstAndNotAllAreTold) {
  RankUsages usages = ten_steps(9);
  for (size_t rank = 0; rank < 4; ++rank) {
    usages.ranks[rank].work_seconds = 20.0 + static_cast<double>(rank);
  }
  const auto warnings = straggler_warnings(usages, 1.5);
  ASSERT_EQ(warnings.size(), 3u);
  EXPECT_THAT(warnings[0], HasSubstr("rank 3 (host d)"));
  EXPECT_THAT(warnings[2], HasSubstr("rank 1 (host b)"));
}

TEST(RankUsages, TheLineHasEachRankByStep) {
  const auto line = rank_usages_json(with_slow_rank(2, 1));
  EXPECT_EQ(line["steps"], 10);
  ASSERT_EQ(line["ranks"].size(), 2u);
  EXPECT_EQ(line["ranks"][1], (nlohmann::json{{"host", "b"},
                                              {"work", 1.8},
                                              {"waited", 0.0},
                                              {"run_queue", 0.0},
                                              {"major_faults", 0.0},
                                              {"tokens", 1000.0},
                                              {"peak_memory_gib", 1.0}}));
}

TEST(RankUsages, AreAddedUp) {
  RankUsages sum;
  add(sum, ten_steps(2));
  RankUsages later = with_slow_rank(2, 1);
  later.num_steps = 5;
  later.ranks[0].peak_memory_bytes = 3 * kGib;
  later.ranks[1].peak_memory_bytes = kGib / 2;
  later.ranks[1].major_faults = 7;
  later.ranks[1].run_queue_seconds = 0.5;
  add(sum, later);
  EXPECT_EQ(sum.num_steps, 15);
  EXPECT_EQ(sum.ranks[1].work_seconds, 27.0);
  EXPECT_EQ(sum.ranks[1].waited_seconds, 9.0);
  EXPECT_EQ(sum.ranks[1].major_faults, 7);
  EXPECT_EQ(sum.ranks[1].run_queue_seconds, 0.5);
  EXPECT_EQ(sum.ranks[1].tokens, 20000);
  EXPECT_EQ(sum.ranks[0].peak_memory_bytes, 3 * kGib);
  EXPECT_EQ(sum.ranks[1].peak_memory_bytes, kGib);
  EXPECT_THROW_WITH(add(sum, ten_steps(3)), InternalError, "2 against 3");
}

TEST(RankUsages, AreSummedUpInALine) {
  RankUsages usages = with_slow_rank(3, 1);
  usages.ranks[2].peak_memory_bytes = 2 * kGib;
  usages.ranks[2].work_seconds = 8.0;
  EXPECT_EQ(ranks_summary(usages),
            "own work a step: rank 1 (host b) 1.80 s, rank 2 (host c) 800 ms; peak memory 2.00 GiB "
            "(rank 2, host c)");
  EXPECT_EQ(ranks_summary(ten_steps(1)),
            "own work a step: rank 0 (host a) 900 ms; peak memory 1.00 GiB (rank 0, host a)");
}

}  // namespace
}  // namespace molora
