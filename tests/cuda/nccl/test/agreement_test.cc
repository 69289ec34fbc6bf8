// Rules between ranks: all call the same collectives in the same order, and sends meet receives.
#include "breach.h"

namespace molora::testing {
namespace {

// Three ranks gather; rank 1 calls something else instead.
void expect_culprit(const std::string& calls, const std::string& expected,
                    const std::function<void(Rank&, ncclComm_t, float*)>& wrong) {
  expect_breach(3,
                "rank 1 of 3 (comm test): RULE agree: calls " + calls +
                    " (collective 1), expected " + expected + " (collective 1) as rank 0",
                [&](Rank& rank, ncclComm_t comm) {
                  const DeviceArray<float> memory(12, 1.0f);
                  if (rank.rank == 1) {
                    wrong(rank, comm, memory.data());
                  } else {
                    EXPECT_EQ(ncclReduce(memory.data(), memory.data(), 4, ncclFloat32, ncclSum, 0,
                                         comm, rank.stream),
                              ncclSuccess);
                  }
                  EXPECT_EQ(cudaStreamSynchronize(rank.stream), cudaSuccess);
                });
}

constexpr const char* kExpected = "Reduce of 4 float32, sum, root 0";

TEST(NcclAgreement, IsOnTheOperation) {
  expect_culprit(
      "AllReduce of 4 float32, sum", kExpected, [](Rank& rank, ncclComm_t comm, float* m) {
        EXPECT_EQ(ncclAllReduce(m, m, 4, ncclFloat32, ncclSum, comm, rank.stream), ncclSuccess);
      });
}

TEST(NcclAgreement, IsOnTheCount) {
  expect_culprit(
      "Reduce of 3 float32, sum, root 0", kExpected, [](Rank& rank, ncclComm_t comm, float* m) {
        EXPECT_EQ(ncclReduce(m, m, 3, ncclFloat32, ncclSum, 0, comm, rank.stream), ncclSuccess);
      });
}

TEST(NcclAgreement, IsOnTheType) {
  expect_culprit(
      "Reduce of 4 int32, sum, root 0", kExpected, [](Rank& rank, ncclComm_t comm, float* m) {
        EXPECT_EQ(ncclReduce(m, m, 4, ncclInt32, ncclSum, 0, comm, rank.stream), ncclSuccess);
      });
}

TEST(NcclAgreement, IsOnTheRoot) {
  expect_culprit(
      "Reduce of 4 float32, sum, root 2", kExpected, [](Rank& rank, ncclComm_t comm, float* m) {
        EXPECT_EQ(ncclReduce(m, m, 4, ncclFloat32, ncclSum, 2, comm, rank.stream), ncclSuccess);
      });
}

TEST(NcclAgreement, IsOnTheReduction) {
  expect_culprit(
      "Reduce of 4 float32, max, root 0", kExpected, [](Rank& rank, ncclComm_t comm, float* m) {
        EXPECT_EQ(ncclReduce(m, m, 4, ncclFloat32, ncclMax, 0, comm, rank.stream), ncclSuccess);
      });
}

TEST(NcclAgreement, IsOnTheOrder) {
  expect_breach(2,
                "rank 1 of 2 (comm test): RULE agree: calls AllGather of 2 int8 (collective 1), "
                "expected Broadcast of 2 int8, root 0 (collective 1) as rank 0",
                [](Rank& rank, ncclComm_t comm) {
                  const DeviceArray<char> memory(4, 1);
                  char* const m = memory.data();
                  const auto gather = [&] {
                    const ncclResult_t result =
                        ncclAllGather(m + 2 * rank.rank, m, 2, ncclInt8, comm, rank.stream);
                    EXPECT_TRUE(result == ncclSuccess || result == ncclInvalidUsage);
                  };
                  if (rank.rank == 1) gather();
                  const ncclResult_t result = ncclBcast(m, 2, ncclInt8, 0, comm, rank.stream);
                  EXPECT_TRUE(result == ncclSuccess || result == ncclInvalidUsage);
                  if (rank.rank == 0) gather();
                  EXPECT_EQ(cudaStreamSynchronize(rank.stream), cudaSuccess);
                });
}

// Rank 0 sends what `send` says, rank 1 receives what `receive` says.
void expect_mismatch(const std::string& report, size_t sent, ncclDataType_t sent_type,
                     size_t received, ncclDataType_t received_type) {
  expect_breach(2, report, [&](Rank& rank, ncclComm_t comm) {
    const DeviceArray<float> memory(8, 1.0f);
    const ncclResult_t result =
        rank.rank == 0 ? ncclSend(memory.data(), sent, sent_type, 1, comm, rank.stream)
                       : ncclRecv(memory.data(), received, received_type, 0, comm, rank.stream);
    EXPECT_EQ(result, ncclSuccess);
    EXPECT_EQ(cudaStreamSynchronize(rank.stream), cudaSuccess);
  });
}

TEST(NcclPeers, AgreeOnTheCount) {
  expect_mismatch(
      "rank 1 of 2 (comm test): RULE peers: receives 5 float32 from rank 0, which sends 6 float32",
      6, ncclFloat32, 5, ncclFloat32);
}

TEST(NcclPeers, AgreeOnTheType) {
  expect_mismatch(
      "rank 1 of 2 (comm test): RULE peers: receives 5 int32 from rank 0, which sends 5 float32", 5,
      ncclFloat32, 5, ncclInt32);
}

TEST(NcclPeers, AgreeOnTheOrderOfMessages) {
  expect_breach(
      2, "rank 1 of 2 (comm test): RULE peers: receives 2 int8 from rank 0, which sends 3 int8",
      [](Rank& rank, ncclComm_t comm) {
        const DeviceArray<char> memory(8, 1);
        ncclGroupStart();
        for (const size_t count : {size_t{3}, size_t{2}}) {
          if (rank.rank == 0) {
            EXPECT_EQ(ncclSend(memory.data(), count, ncclInt8, 1, comm, rank.stream), ncclSuccess);
          } else {
            EXPECT_EQ(ncclRecv(memory.data() + count, 5 - count, ncclInt8, 0, comm, rank.stream),
                      ncclSuccess);
          }
        }
        EXPECT_EQ(ncclGroupEnd(), ncclSuccess);
        EXPECT_EQ(cudaStreamSynchronize(rank.stream), cudaSuccess);
      });
}

TEST(NcclPeers, DoNotSkipAZeroCountOnOneSide) {
  expect_breach(2, "RULE order: is at", [](Rank& rank, ncclComm_t comm) {
    const DeviceArray<char> memory(4, 1);
    if (rank.rank == 0) {
      EXPECT_EQ(ncclSend(memory.data(), 0, ncclInt8, 1, comm, rank.stream), ncclSuccess);
    }
    const ncclResult_t result = ncclBcast(memory.data(), 4, ncclInt8, 0, comm, rank.stream);
    EXPECT_TRUE(result == ncclSuccess || result == ncclInvalidUsage);
    EXPECT_EQ(cudaStreamSynchronize(rank.stream), cudaSuccess);
  });
}

TEST(NcclPeers, DoNotWaitForEachOtherOutsideAGroup) {
  expect_breach(2, "RULE order: is at Send of 4 int8 to rank", [](Rank& rank, ncclComm_t comm) {
    const DeviceArray<char> memory(8, 1);
    const int other = 1 - rank.rank;
    EXPECT_EQ(ncclSend(memory.data(), 4, ncclInt8, other, comm, rank.stream), ncclSuccess);
    const ncclResult_t result = ncclRecv(memory.data() + 4, 4, ncclInt8, other, comm, rank.stream);
    EXPECT_TRUE(result == ncclSuccess || result == ncclInvalidUsage);
    EXPECT_EQ(cudaStreamSynchronize(rank.stream), cudaSuccess);
  });
}

TEST(NcclPeers, DoNotWaitForEachOtherInACircleOfThree) {
  expect_breach(3, "RULE order: is at Recv of 4 int8 from rank", [](Rank& rank, ncclComm_t comm) {
    const DeviceArray<char> memory(8, 1);
    EXPECT_EQ(ncclRecv(memory.data(), 4, ncclInt8, (rank.rank + 1) % 3, comm, rank.stream),
              ncclSuccess);
    EXPECT_EQ(cudaStreamSynchronize(rank.stream), cudaSuccess);
  });
}

TEST(NcclPeers, SendToThemselvesOnlyWithAReceive) {
  expect_breach(1, "rank 0 of 1 (comm test): RULE order: is at Send of 4 int8 to rank 0",
                [](Rank& rank, ncclComm_t comm) {
                  const DeviceArray<char> memory(8, 1);
                  EXPECT_EQ(ncclSend(memory.data(), 4, ncclInt8, 0, comm, rank.stream),
                            ncclSuccess);
                  EXPECT_EQ(cudaStreamSynchronize(rank.stream), cudaSuccess);
                });
}

TEST(NcclPeers, LeaveRanksAloneThatHaveNothingToSay) {
  expect_all_good(run_ranks(As::kProcesses, 3, {}, [](Rank& rank) {
    ncclComm_t comm = init(rank);
    const DeviceArray<char> memory(8, static_cast<char>(rank.rank));
    if (rank.rank < 2) {
      ncclGroupStart();
      EXPECT_EQ(ncclSend(memory.data(), 0, ncclInt8, 1 - rank.rank, comm, rank.stream),
                ncclSuccess);
      EXPECT_EQ(ncclRecv(memory.data() + 4, 0, ncclInt8, 1 - rank.rank, comm, rank.stream),
                ncclSuccess);
      EXPECT_EQ(ncclGroupEnd(), ncclSuccess);
    }
    EXPECT_EQ(ncclBcast(memory.data(), 8, ncclInt8, 2, comm, rank.stream), ncclSuccess);
    EXPECT_EQ(memory.values(rank.stream), std::vector<char>(8, 2));
    EXPECT_EQ(ncclCommDestroy(comm), ncclSuccess);
  }));
}

TEST(NcclOrder, HoldsBetweenReceiveAndCollective) {
  expect_breach(2, "RULE order: is at", [](Rank& rank, ncclComm_t comm) {
    const DeviceArray<char> memory(4, 1);
    const auto report = [](ncclResult_t result) {
      EXPECT_TRUE(result == ncclSuccess || result == ncclInvalidUsage);
    };
    if (rank.rank == 0) {
      report(ncclRecv(memory.data(), 4, ncclInt8, 1, comm, rank.stream));
      report(ncclBcast(memory.data(), 4, ncclInt8, 0, comm, rank.stream));
    } else {
      report(ncclBcast(memory.data(), 4, ncclInt8, 0, comm, rank.stream));
      report(ncclSend(memory.data(), 4, ncclInt8, 0, comm, rank.stream));
    }
    EXPECT_EQ(cudaStreamSynchronize(rank.stream), cudaSuccess);
  });
}

TEST(NcclOrder, MissesARankThatHasLeft) {
  expect_all_good(run_ranks(As::kProcesses, 2, {}, [](Rank& rank) {
    ncclComm_t comm = init(rank);
    const DeviceArray<char> memory(4, 1);
    if (rank.rank == 1) {
      EXPECT_EQ(ncclCommDestroy(comm), ncclSuccess);
      return;
    }
    EXPECT_EQ(ncclBcast(memory.data(), 4, ncclInt8, 0, comm, rank.stream), ncclSuccess);
    EXPECT_EQ(failure_of(comm), ncclInvalidUsage);
    EXPECT_THAT(
        ncclGetLastError(comm),
        ::testing::HasSubstr("rank 1 of 2 (comm test): RULE left: has destroyed the "
                             "communicator, but rank 0 waits for it in Broadcast of 4 int8"));
    EXPECT_EQ(ncclCommAbort(comm), ncclSuccess);
  }));
}

}  // namespace
}  // namespace molora::testing
