// FAKE_NCCL_ORDER: sums whose bits depend on the order of the ranks.
#include "breach.h"

namespace molora::testing {
namespace {

// Of four ranks: in float, 1e8 + 1 is 1e8.
constexpr float kValues[4] = {1e8f, 1.0f, -1e8f, 1.0f};

std::vector<float> sums(const std::string& order) {
  std::vector<float> sums(4);
  const auto ends = run_ranks(As::kProcesses, 4, {{"FAKE_NCCL_ORDER", order}}, [](Rank& rank) {
    ncclComm_t comm = init(rank);
    const DeviceArray<float> memory(4, kValues[rank.rank]);
    EXPECT_EQ(
        ncclAllReduce(memory.data(), memory.data(), 4, ncclFloat32, ncclSum, comm, rank.stream),
        ncclSuccess);
    const std::vector<float> values = memory.values(rank.stream);
    if (rank.rank == 0) std::printf("%g %g %g %g", values[0], values[1], values[2], values[3]);
    EXPECT_EQ(ncclCommDestroy(comm), ncclSuccess);
  });
  expect_all_good(ends);
  EXPECT_EQ(
      std::sscanf(ends[0].output.c_str(), "%g %g %g %g", &sums[0], &sums[1], &sums[2], &sums[3]),
      4);
  return sums;
}

TEST(NcclReductionOrder, IsThatOfTheRanks) {
  EXPECT_EQ(sums("rank"), std::vector<float>(4, 1.0f));  // ((1e8 + 1) - 1e8) + 1
}

TEST(NcclReductionOrder, IsReverse) {
  EXPECT_EQ(sums("reverse"), std::vector<float>(4, 0.0f));  // ((1 - 1e8) + 1) + 1e8
}

TEST(NcclReductionOrder, IsATree) {
  EXPECT_EQ(sums("tree"), std::vector<float>(4, 0.0f));  // (1e8 + 1) + (-1e8 + 1)
}

TEST(NcclReductionOrder, IsARingThatStartsElsewhereForEachBlock) {
  // ((1 - 1e8) + 1) + 1e8, ((-1e8 + 1) + 1e8) + 1, ((1 + 1e8) + 1) - 1e8, ((1e8 + 1) - 1e8) + 1
  EXPECT_EQ(sums("ring"), (std::vector<float>{0.0f, 1.0f, 0.0f, 1.0f}));
}

TEST(NcclReductionOrder, MustBeKnown) {
  const EndOfChild end = run_in_child({{"FAKE_NCCL_ORDER", "random"}}, [] { alone(); });
  EXPECT_EQ(end.signal, SIGABRT);
  EXPECT_THAT(end.output,
              ::testing::HasSubstr("FAKE_NCCL_ORDER=random is none of rank, reverse, ring"));
}

}  // namespace
}  // namespace molora::testing
