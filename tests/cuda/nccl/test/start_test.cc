// How communicators start: ids, ranks, devices, configurations, nonblocking starts and splits.
#include <algorithm>
#include <filesystem>

#include "breach.h"

namespace molora::testing {
namespace {

using ::testing::HasSubstr;

// All ranks start with what `start` passes; the ones that are refused answer ncclInvalidUsage.
std::string said_by_start(int size, const std::function<ncclResult_t(Rank&, ncclComm_t*)>& start,
                          const Environment& environment = {}) {
  const auto ends = run_ranks(As::kProcesses, size, environment, [&](Rank& rank) {
    ncclComm_t comm = nullptr;
    EXPECT_EQ(start(rank, &comm), ncclInvalidUsage);
    EXPECT_EQ(comm, nullptr);
  });
  expect_all_good(ends);
  return output_of(ends);
}

TEST(NcclStart, NeedsEachRankOnce) {
  EXPECT_THAT(said_by_start(3,
                            [](Rank& rank, ncclComm_t* comm) {
                              return ncclCommInitRank(comm, 3, rank.id, rank.rank / 2);
                            }),
              HasSubstr("RULE same-rank: two have come as this rank"));
}

TEST(NcclStart, NeedsOneNumberOfRanks) {
  EXPECT_THAT(said_by_start(2,
                            [](Rank& rank, ncclComm_t* comm) {
                              return ncclCommInitRank(comm, 3 + rank.rank, rank.id, rank.rank);
                            }),
              HasSubstr("RULE num-ranks: the communicator has "));
}

TEST(NcclStart, NeedsADevicePerRank) {
  const auto on_one_device = [](Rank& rank, ncclComm_t* comm) {
    cudaSetDevice(3);
    return ncclCommInitRank(comm, rank.size, rank.id, rank.rank);
  };
  EXPECT_THAT(
      said_by_start(2, on_one_device),
      HasSubstr("RULE duplicate-gpu: Duplicate GPU detected : rank 0 and rank 1 both on CUDA "
                "device 4000"));
}

TEST(NcclStart, TakesRanksOfDifferentHostIdsOnOneDevice) {
  expect_all_good(run_ranks(As::kProcesses, 2, {}, [](Rank& rank) {
    setenv("NCCL_HOSTID", std::to_string(rank.rank).c_str(), 1);
    cudaSetDevice(0);
    ncclComm_t comm = init(rank);
    EXPECT_EQ(ncclCommDestroy(comm), ncclSuccess);
  }));
}

TEST(NcclStart, CountsDevicesOfTheMachine) {
  expect_all_good(run_ranks(As::kProcesses, 1, {{"CUDA_VISIBLE_DEVICES", "5,2"}}, [](Rank&) {
    int count = 0, bus = 0;
    EXPECT_EQ(cudaGetDeviceCount(&count), cudaSuccess);
    EXPECT_EQ(cudaDeviceGetAttribute(&bus, cudaDevAttrPciBusId, 1), cudaSuccess);
    EXPECT_EQ(count, 2);
    EXPECT_EQ(bus, 3);
  }));
}

TEST(NcclStart, NeedsAFreshIdEachTime) {
  EXPECT_THAT(
      said_by([] {
        const ncclUniqueId id = fresh_id();
        ncclComm_t comm = nullptr;
        EXPECT_EQ(ncclCommInitRank(&comm, 1, id, 0), ncclSuccess);
        EXPECT_EQ(ncclCommInitRank(&comm, 1, id, 0), ncclInvalidUsage);
      }),
      HasSubstr("RULE same-id: ncclCommInitRank with a unique id that this rank has used before"));
}

TEST(NcclStart, RefusesWhatIsNoId) {
  EXPECT_THAT(
      said_by([] {
        const ncclUniqueId id{};
        ncclComm_t comm = nullptr;
        EXPECT_EQ(ncclCommInitRank(&comm, 1, id, 0), ncclInvalidArgument);
      }),
      HasSubstr("RULE argument: ncclCommInitRank: the id does not come from ncclGetUniqueId"));
}

TEST(NcclStart, RefusesRanksOutsideTheCommunicator) {
  EXPECT_THAT(said_by([] {
                ncclComm_t comm = nullptr;
                EXPECT_EQ(ncclCommInitRank(&comm, 2, fresh_id(), 2), ncclInvalidArgument);
              }),
              HasSubstr("RULE argument: ncclCommInitRank: rank 2 of 2"));
}

TEST(NcclStart, RefusesAConfigWithoutItsInitializer) {
  EXPECT_THAT(said_by([] {
                ncclConfig_t config{};
                ncclComm_t comm = nullptr;
                EXPECT_EQ(ncclCommInitRankConfig(&comm, 1, fresh_id(), 0, &config),
                          ncclInvalidArgument);
              }),
              HasSubstr("the config does not come from NCCL_CONFIG_INITIALIZER"));
}

TEST(NcclStart, OfAGroupWaitsForAllOfIt) {
  expect_all_good({run_in_child({}, [] {
    const ncclUniqueId id = fresh_id();
    ncclComm_t comms[2];
    ASSERT_EQ(ncclGroupStart(), ncclSuccess);
    for (int rank = 0; rank < 2; ++rank) {
      EXPECT_EQ(cudaSetDevice(rank), cudaSuccess);
      EXPECT_EQ(ncclCommInitRank(&comms[rank], 2, id, rank), ncclSuccess);
    }
    ASSERT_EQ(ncclGroupEnd(), ncclSuccess);
    for (ncclComm_t comm : comms) EXPECT_EQ(ncclCommDestroy(comm), ncclSuccess);
  })});
}

TEST(NcclStart, EndsWhenARankDoesNotCome) {
  EXPECT_THAT(said_by(
                  [] {
                    ncclComm_t comm = nullptr;
                    EXPECT_EQ(ncclCommInitRank(&comm, 3, fresh_id(), 1), ncclRemoteError);
                  },
                  {{"FAKE_NCCL_TIMEOUT_S", "1"}}),
              HasSubstr("rank 1 of 3 (comm "));
}

TEST(NcclStart, LeavesNothingInSharedMemory) {
  const auto segments = [] {
    std::vector<std::string> names;
    for (const auto& entry : std::filesystem::directory_iterator("/dev/shm")) {
      const std::string name = entry.path().filename().string();
      if (name.starts_with("molora-fake-nccl-")) names.push_back(name);
    }
    return names;
  };
  const auto before = segments();
  // Ended well, ended without an end, killed, and one that waited in vain.
  expect_all_good(run_ranks(As::kProcesses, 2, {}, [](Rank& rank) {
    EXPECT_EQ(ncclCommDestroy(init(rank)), ncclSuccess);
  }));
  expect_all_good(run_ranks(As::kProcesses, 2, {}, [](Rank& rank) { init(rank); }));
  run_ranks(As::kProcesses, 2, {}, [](Rank& rank) {
    init(rank);
    std::raise(SIGKILL);
  });
  (void)said_by(
      [] {
        ncclComm_t comm = nullptr;
        EXPECT_EQ(ncclCommInitRank(&comm, 2, fresh_id(), 0), ncclRemoteError);
      },
      {{"FAKE_NCCL_TIMEOUT_S", "1"}});
  // Refused.
  (void)said_by_start(2, [](Rank& rank, ncclComm_t* comm) {
    return ncclCommInitRank(comm, 3 + rank.rank, rank.id, rank.rank);
  });
  // Stopped by its environment.
  run_in_child({{"FAKE_NCCL_ORDER", "random"}}, [] { alone(); });
  std::vector<std::string> left;
  for (const std::string& name : segments()) {
    if (std::find(before.begin(), before.end(), name) == before.end()) left.push_back(name);
  }
  EXPECT_THAT(left, ::testing::IsEmpty());
}

ncclComm_t init_nonblocking(const Rank& rank) {
  ncclConfig_t config = NCCL_CONFIG_INITIALIZER;
  config.blocking = 0;
  config.commName = "test";
  ncclComm_t comm = nullptr;
  EXPECT_EQ(ncclCommInitRankConfig(&comm, rank.size, rank.id, rank.rank, &config), ncclInProgress);
  EXPECT_EQ(state_of(comm), ncclSuccess);
  return comm;
}

TEST(NcclNonblocking, IsInProgressUntilItIsPolled) {
  expect_all_good(run_ranks(As::kProcesses, 3, {{"FAKE_NCCL_SEED", "6"}}, [](Rank& rank) {
    ncclComm_t comm = init_nonblocking(rank);
    const DeviceArray<float> memory(2, static_cast<float>(rank.rank));
    int in_progress = 0;
    for (int i = 0; i < 50; ++i) {
      const ncclResult_t result =
          ncclAllReduce(memory.data(), memory.data(), 2, ncclFloat32, ncclMax, comm, rank.stream);
      in_progress += result == ncclInProgress ? 1 : 0;
      ASSERT_EQ(state_of(comm), ncclSuccess);
    }
    EXPECT_GT(in_progress, 5);
    EXPECT_LT(in_progress, 45);
    EXPECT_EQ(memory.values(rank.stream), std::vector<float>(2, 2.0f));
    EXPECT_EQ(ncclCommFinalize(comm), ncclInProgress);
    EXPECT_EQ(state_of(comm), ncclSuccess);
    EXPECT_EQ(ncclCommDestroy(comm), ncclSuccess);
  }));
}

TEST(NcclNonblocking, MustBePolledBeforeTheNextCall) {
  EXPECT_THAT(output_of(run_ranks(As::kProcesses, 1, {},
                                  [](Rank& rank) {
                                    ncclComm_t comm = init_nonblocking(rank);
                                    const DeviceArray<float> memory(2, 0.0f);
                                    ncclResult_t result = ncclSuccess;
                                    for (int i = 0; i < 100 && result != ncclInvalidUsage; ++i) {
                                      result =
                                          ncclAllReduce(memory.data(), memory.data(), 2,
                                                        ncclFloat32, ncclMax, comm, rank.stream);
                                    }
                                    EXPECT_EQ(result, ncclInvalidUsage);
                                  })),
              HasSubstr("RULE not-polled: ncclAllReduce is called after a call that returned "
                        "ncclInProgress"));
}

TEST(NcclNonblocking, MustBePolledBeforeItIsDestroyed) {
  EXPECT_THAT(output_of(run_ranks(As::kProcesses, 1, {},
                                  [](Rank& rank) {
                                    ncclConfig_t config = NCCL_CONFIG_INITIALIZER;
                                    config.blocking = 0;
                                    ncclComm_t comm = nullptr;
                                    EXPECT_EQ(ncclCommInitRankConfig(&comm, 1, rank.id, 0, &config),
                                              ncclInProgress);
                                    EXPECT_EQ(ncclCommDestroy(comm), ncclInvalidUsage);
                                  })),
              HasSubstr("RULE not-polled: ncclCommDestroy is called while a call is in progress"));
}

TEST(NcclNonblocking, PutsWorkOnTheStreamOnlyWhenPolled) {
  expect_all_good(run_ranks(As::kProcesses, 1, {}, [](Rank& rank) {
    ncclComm_t comm = init_nonblocking(rank);
    const DeviceArray<float> memory(2, 3.0f);
    const DeviceArray<float> result(2, 1.0f);
    ncclResult_t answer = ncclSuccess;
    while (answer != ncclInProgress) {
      EXPECT_EQ(cudaMemset(result.data(), 0, 8), cudaSuccess);
      EXPECT_EQ(cudaDeviceSynchronize(), cudaSuccess);
      answer = ncclAllGather(memory.data(), result.data(), 2, ncclFloat32, comm, rank.stream);
    }
    EXPECT_EQ(result.values(rank.stream), std::vector<float>(2, 0.0f));
    EXPECT_EQ(state_of(comm), ncclSuccess);
    EXPECT_EQ(result.values(rank.stream), std::vector<float>(2, 3.0f));
    EXPECT_EQ(ncclCommDestroy(comm), ncclSuccess);
  }));
}

TEST(NcclNonblocking, TakesAGroupWithoutPollingInside) {
  expect_all_good(run_ranks(As::kProcesses, 2, {}, [](Rank& rank) {
    ncclComm_t comm = init_nonblocking(rank);
    for (int i = 0; i < 20; ++i) {
      const DeviceArray<int> send(2, rank.rank + i);
      const DeviceArray<int> recv(2, -1);
      EXPECT_EQ(ncclGroupStart(), ncclSuccess);
      EXPECT_EQ(ncclSend(send.data(), 2, ncclInt32, 1 - rank.rank, comm, rank.stream), ncclSuccess);
      EXPECT_EQ(ncclRecv(recv.data(), 2, ncclInt32, 1 - rank.rank, comm, rank.stream), ncclSuccess);
      const ncclResult_t result = ncclGroupEnd();
      EXPECT_TRUE(result == ncclSuccess || result == ncclInProgress);
      EXPECT_EQ(state_of(comm), ncclSuccess);
      EXPECT_EQ(recv.values(rank.stream), std::vector<int>(2, 1 - rank.rank + i));
    }
    EXPECT_EQ(ncclCommDestroy(comm), ncclSuccess);
  }));
}

TEST(NcclSplit, OrdersRanksByKey) {
  expect_all_good(run_ranks(As::kProcesses, 4, {}, [](Rank& rank) {
    ncclComm_t world = init(rank);
    ncclComm_t part = nullptr;
    for (int again = 0; again < 2; ++again) {
      const int color = rank.rank == 3 ? NCCL_SPLIT_NOCOLOR : rank.rank % 2;
      EXPECT_EQ(ncclCommSplit(world, color, -rank.rank, &part, nullptr), ncclSuccess);
      if (rank.rank == 3) {
        EXPECT_EQ(part, nullptr);
        continue;
      }
      int count = 0, part_rank = -1;
      EXPECT_EQ(ncclCommCount(part, &count), ncclSuccess);
      EXPECT_EQ(ncclCommUserRank(part, &part_rank), ncclSuccess);
      EXPECT_EQ(count, rank.rank == 1 ? 1 : 2);
      EXPECT_EQ(part_rank, rank.rank == 0 ? 1 : 0);
      const DeviceArray<int> memory(1, rank.rank + 1);
      EXPECT_EQ(
          ncclAllReduce(memory.data(), memory.data(), 1, ncclInt32, ncclSum, part, rank.stream),
          ncclSuccess);
      EXPECT_EQ(memory.values(rank.stream).front(), rank.rank == 1 ? 2 : 4);
      EXPECT_EQ(ncclCommDestroy(part), ncclSuccess);
    }
    EXPECT_EQ(ncclCommDestroy(world), ncclSuccess);
  }));
}

TEST(NcclSplit, OfANonblockingParentIsThereWhenTheParentIsReady) {
  expect_all_good(run_ranks(As::kProcesses, 2, {}, [](Rank& rank) {
    ncclComm_t world = init_nonblocking(rank);
    ncclComm_t part = nullptr;
    EXPECT_EQ(ncclCommSplit(world, 0, rank.rank, &part, nullptr), ncclInProgress);
    EXPECT_EQ(state_of(world), ncclSuccess);
    ASSERT_NE(part, nullptr);
    EXPECT_EQ(state_of(part), ncclSuccess);
    EXPECT_EQ(ncclCommDestroy(part), ncclSuccess);
    EXPECT_EQ(ncclCommDestroy(world), ncclSuccess);
  }));
}

TEST(NcclRest, IsRefusedByName) {
  const EndOfChild end = run_in_child({}, [] { (void)pncclGroupStart(); });
  EXPECT_EQ(end.signal, SIGABRT);
  EXPECT_THAT(end.output, HasSubstr("fake nccl: pncclGroupStart is not part of the fake NCCL"));
}

}  // namespace
}  // namespace molora::testing
