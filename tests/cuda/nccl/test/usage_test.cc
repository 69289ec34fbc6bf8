// Rules of one rank: handles, groups, arguments, threads and the polling of nonblocking
// communicators.
#include <array>
#include <atomic>

#include "breach.h"

namespace molora::testing {
namespace {

using ::testing::HasSubstr;

struct OnDeviceZero {
  OnDeviceZero() {
    EXPECT_EQ(cudaStreamCreateWithFlags(&stream, cudaStreamNonBlocking), cudaSuccess);
  }
  ncclResult_t broadcast(ncclComm_t comm) const {
    return ncclBcast(memory.data(), 4, ncclInt8, 0, comm, stream);
  }
  void finish() const { EXPECT_EQ(cudaStreamSynchronize(stream), cudaSuccess); }

  cudaStream_t stream = nullptr;
  DeviceArray<char> memory{16, 1};
};

TEST(NcclHandles, AreDeadAfterDestroy) {
  EXPECT_THAT(
      said_by([] {
        const OnDeviceZero device;
        ncclComm_t comm = alone();
        EXPECT_EQ(ncclCommDestroy(comm), ncclSuccess);
        EXPECT_EQ(device.broadcast(comm), ncclInvalidArgument);
      }),
      HasSubstr("fake nccl: rank 0 of 1 (comm test): RULE dead-handle: ncclBcast after it was "
                "destroyed"));
}

TEST(NcclHandles, AreDeadAfterAbort) {
  EXPECT_THAT(said_by([] {
                ncclComm_t comm = alone();
                EXPECT_EQ(ncclCommAbort(comm), ncclSuccess);
                EXPECT_EQ(ncclCommDestroy(comm), ncclInvalidArgument);
              }),
              HasSubstr("RULE dead-handle: ncclCommDestroy after it was aborted"));
}

TEST(NcclHandles, MustComeFromNccl) {
  EXPECT_THAT(said_by([] {
                int count = 0;
                EXPECT_EQ(ncclCommCount(reinterpret_cast<ncclComm_t>(&count), &count),
                          ncclInvalidArgument);
              }),
              HasSubstr("RULE dead-handle: ncclCommCount with a handle"));
}

TEST(NcclHandles, TakeNoOperationAfterFinalize) {
  expect_breach(
      1, "rank 0 of 1 (comm test): RULE finalized: ncclBcast is called after ncclCommFinalize",
      [](Rank&, ncclComm_t comm) {
        const OnDeviceZero device;
        EXPECT_EQ(ncclCommFinalize(comm), ncclSuccess);
        EXPECT_EQ(device.broadcast(comm), ncclInvalidUsage);
      });
}

TEST(NcclHandles, AreNotDestroyedWithUnfinishedOperations) {
  expect_all_good(run_ranks(As::kProcesses, 2, {}, [](Rank& rank) {
    ncclComm_t comm = init(rank);
    const DeviceArray<char> memory(4, 1);
    if (rank.rank == 0) {
      EXPECT_EQ(ncclBcast(memory.data(), 4, ncclInt8, 0, comm, rank.stream), ncclSuccess);
      EXPECT_EQ(ncclCommDestroy(comm), ncclInvalidUsage);
      EXPECT_EQ(cudaStreamSynchronize(rank.stream), cudaSuccess);
    } else {
      EXPECT_EQ(failure_of(comm), ncclInvalidUsage);
      EXPECT_THAT(ncclGetLastError(comm),
                  HasSubstr("rank 0 of 2 (comm test): RULE unfinished: ncclCommDestroy is called "
                            "while operations are unfinished"));
      EXPECT_EQ(ncclCommAbort(comm), ncclSuccess);
    }
  }));
}

TEST(NcclHandles, TellWhoTheyAre) {
  expect_all_good(run_ranks(As::kProcesses, 2, {}, [](Rank& rank) {
    ncclComm_t comm = init(rank);
    int count = 0, user_rank = -1, device = -1, version = 0;
    EXPECT_EQ(ncclCommCount(comm, &count), ncclSuccess);
    EXPECT_EQ(ncclCommUserRank(comm, &user_rank), ncclSuccess);
    EXPECT_EQ(ncclCommCuDevice(comm, &device), ncclSuccess);
    EXPECT_EQ(ncclGetVersion(&version), ncclSuccess);
    EXPECT_EQ(count, 2);
    EXPECT_EQ(user_rank, rank.rank);
    EXPECT_EQ(device, rank.rank);
    EXPECT_EQ(version, NCCL_VERSION_CODE);
    EXPECT_STREQ(ncclGetErrorString(ncclRemoteError),
                 "remote process exited or there was a network error");
    EXPECT_EQ(ncclCommDestroy(comm), ncclSuccess);
  }));
}

TEST(NcclGroups, MustBeStarted) {
  EXPECT_THAT(said_by([] { EXPECT_EQ(ncclGroupEnd(), ncclInvalidUsage); }),
              HasSubstr("RULE group: ncclGroupEnd without ncclGroupStart"));
}

TEST(NcclGroups, MustBeEnded) {
  EXPECT_THAT(said_by([] { std::thread([] { ncclGroupStart(); }).join(); }),
              HasSubstr("RULE group: a thread ends inside 1 ncclGroupStart"));
}

TEST(NcclGroups, KeepTheirCommunicators) {
  expect_all_good({run_in_child({}, [] {
    const OnDeviceZero device;
    ncclComm_t comm = alone();
    ncclGroupStart();
    EXPECT_EQ(device.broadcast(comm), ncclSuccess);
    EXPECT_EQ(ncclCommDestroy(comm), ncclInvalidUsage);
  })});
}

TEST(NcclGroups, HaveOneStreamPerCommunicator) {
  expect_breach(
      1, "rank 0 of 1 (comm test): RULE group: Broadcast of 4 int8, root 0 is on another stream",
      [](Rank& rank, ncclComm_t comm) {
        const OnDeviceZero device;
        ncclGroupStart();
        EXPECT_EQ(device.broadcast(comm), ncclSuccess);
        EXPECT_EQ(ncclBcast(device.memory.data(), 4, ncclInt8, 0, comm, rank.stream),
                  ncclInvalidUsage);
        EXPECT_EQ(ncclGroupEnd(), ncclInvalidUsage);
      });
}

TEST(NcclGroups, LaunchNothingAfterAnError) {
  expect_breach(1, "rank 0 of 1 (comm test): RULE argument: ncclBcast: rank 5 is not in [0, 1)",
                [](Rank&, ncclComm_t comm) {
                  const OnDeviceZero device;
                  ncclGroupStart();
                  EXPECT_EQ(device.broadcast(comm), ncclSuccess);
                  EXPECT_EQ(ncclBcast(device.memory.data(), 4, ncclInt8, 5, comm, device.stream),
                            ncclInvalidArgument);
                  EXPECT_EQ(ncclGroupEnd(), ncclInvalidArgument);
                });
}

TEST(NcclArguments, AreElementTypes) {
  expect_breach(1, "rank 0 of 1 (comm test): RULE argument: ncclBcast: element type 12 is not one",
                [](Rank&, ncclComm_t comm) {
                  const OnDeviceZero device;
                  EXPECT_EQ(
                      ncclBcast(device.memory.data(), 4, ncclNumTypes, 0, comm, device.stream),
                      ncclInvalidArgument);
                });
}

TEST(NcclArguments, AreOperators) {
  expect_breach(1, "rank 0 of 1 (comm test): RULE argument: ncclAllReduce: operator 5 is not one",
                [](Rank&, ncclComm_t comm) {
                  const OnDeviceZero device;
                  char* const m = device.memory.data();
                  EXPECT_EQ(ncclAllReduce(m, m, 4, ncclInt8, ncclNumOps, comm, device.stream),
                            ncclInvalidArgument);
                });
}

TEST(NcclThreads, DoNotShareACommunicator) {
  EXPECT_THAT(
      said_by(
          [] {
            const OnDeviceZero device;
            ncclComm_t comm = alone();
            std::atomic<int> breaches{0};
            const auto use = [&] {
              for (int i = 0; i < 200 && breaches == 0; ++i) {
                if (device.broadcast(comm) != ncclSuccess) ++breaches;
              }
            };
            std::thread other(use);
            use();
            other.join();
            EXPECT_GT(breaches.load(), 0);
            EXPECT_EQ(failure_of(comm), ncclInvalidUsage);
          },
          {{"FAKE_NCCL_SEED", "1"}}),
      HasSubstr(
          "RULE threads: ncclBcast is called while another thread is inside this communicator"));
}

TEST(NcclThreads, DoNotUseTwoCommunicatorsOfADevice) {
  EXPECT_THAT(
      said_by(
          [] {
            const OnDeviceZero device;
            const std::array<ncclComm_t, 2> comms = {alone("one"), alone("two")};
            std::atomic<int> breaches{0};
            const auto use = [&](ncclComm_t comm) {
              int rank = 0;
              for (int i = 0; i < 200 && breaches == 0; ++i) {
                if (ncclCommUserRank(comm, &rank) != ncclSuccess) ++breaches;
              }
            };
            std::thread other(use, comms[1]);
            use(comms[0]);
            other.join();
            EXPECT_GT(breaches.load(), 0);
          },
          {{"FAKE_NCCL_SEED", "1"}}),
      HasSubstr("RULE threads: ncclCommUserRank is called while another thread is inside comm"));
}

TEST(NcclTwoCommunicators, AreNotUsedOnTwoStreamsWithoutOrder) {
  EXPECT_THAT(
      said_by(
          [] {
            const OnDeviceZero device;
            const OnDeviceZero second;
            ncclComm_t one = alone("one");
            ncclComm_t two = alone("two");
            EXPECT_EQ(device.broadcast(one), ncclSuccess);
            EXPECT_EQ(second.broadcast(two), ncclInvalidUsage);
            EXPECT_EQ(ncclCommAbort(two), ncclSuccess);
            EXPECT_EQ(ncclCommAbort(one), ncclSuccess);
            device.finish();
          },
          {{"FAKE_NCCL_FAIL", "op=1,kind=hang,comm=one"}}),
      HasSubstr("rank 0 of 1 (comm two): RULE unordered: ncclBcast goes onto a stream while comm "
                "one of the same device has unfinished operations on another"));
}

TEST(NcclTwoCommunicators, MayBeOrderedByAnEventOrOneStream) {
  expect_all_good({run_in_child({{"FAKE_CUDA_SEED", "3"}}, [] {
    const OnDeviceZero device;
    const OnDeviceZero second;
    ncclComm_t one = alone("one");
    ncclComm_t two = alone("two");
    cudaEvent_t event = nullptr;
    EXPECT_EQ(cudaEventCreateWithFlags(&event, cudaEventDisableTiming), cudaSuccess);
    for (int i = 0; i < 50; ++i) {
      EXPECT_EQ(device.broadcast(one), ncclSuccess);
      EXPECT_EQ(device.broadcast(two), ncclSuccess);
      EXPECT_EQ(cudaEventRecord(event, device.stream), cudaSuccess);
      EXPECT_EQ(cudaStreamWaitEvent(second.stream, event, 0), cudaSuccess);
      EXPECT_EQ(second.broadcast(one), ncclSuccess);
      second.finish();
    }
    EXPECT_EQ(ncclCommDestroy(one), ncclSuccess);
    EXPECT_EQ(ncclCommDestroy(two), ncclSuccess);
  })});
}

}  // namespace
}  // namespace molora::testing
