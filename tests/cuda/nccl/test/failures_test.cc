// Ranks that die, abort, hang or fail as planned, and how the others get out of it.
#include "breach.h"

namespace molora::testing {
namespace {

using ::testing::HasSubstr;

ncclResult_t broadcast(Rank& rank, ncclComm_t comm, const DeviceArray<char>& memory) {
  return ncclBcast(memory.data(), 4, ncclInt8, 0, comm, rank.stream);
}

// Rank 1 is lost as `lose` says; the others find `error`, their streams end with an abort, not
// before.
std::vector<EndOfChild> others_after(ncclResult_t error,
                                     const std::function<void(ncclComm_t)>& lose,
                                     const Environment& environment = {}) {
  return run_ranks(As::kProcesses, 3, environment, [&](Rank& rank) {
    ncclComm_t comm = init(rank);
    if (rank.rank == 1) {
      lose(comm);
      return;
    }
    const DeviceArray<char> memory(4, 1);
    EXPECT_EQ(broadcast(rank, comm, memory), ncclSuccess);
    EXPECT_EQ(failure_of(comm), error);
    EXPECT_EQ(cudaStreamQuery(rank.stream), cudaErrorNotReady);
    EXPECT_EQ(ncclCommAbort(comm), ncclSuccess);
    EXPECT_EQ(cudaStreamSynchronize(rank.stream), cudaSuccess);
  });
}

TEST(NcclLoss, OfAKilledRankIsARemoteError) {
  const auto ends = others_after(ncclRemoteError, [](ncclComm_t) { std::raise(SIGKILL); });
  EXPECT_EQ(ends[1].signal, SIGKILL);
  expect_all_good({ends[0], ends[2]});
  EXPECT_THAT(ends[0].output,
              HasSubstr("fake nccl: rank 0 of 3 (comm test): the process of rank 1 has "
                        "died"));
}

TEST(NcclLoss, OfAnExitedRankIsARemoteError) {
  const auto ends = others_after(ncclRemoteError, [](ncclComm_t) {});
  expect_all_good(ends);
}

TEST(NcclLoss, OfARankThatAbortsIsARemoteError) {
  const auto ends = others_after(
      ncclRemoteError, [](ncclComm_t comm) { EXPECT_EQ(ncclCommAbort(comm), ncclSuccess); });
  expect_all_good(ends);
  EXPECT_THAT(ends[2].output,
              HasSubstr("rank 1 has aborted; Broadcast of 4 int8, root 0 (collective 1) "
                        "cannot end"));
}

TEST(NcclLoss, IsKnownToRanksThatWaitForNothing) {
  const auto ends = run_ranks(As::kProcesses, 2, {}, [](Rank& rank) {
    ncclComm_t comm = init(rank);
    if (rank.rank == 1) std::raise(SIGKILL);
    EXPECT_EQ(failure_of(comm), ncclRemoteError);
  });
  expect_all_good({ends[0]});
}

TEST(NcclLoss, EndsTheStartOfOthers) {
  const auto ends = run_ranks(As::kProcesses, 3, {}, [](Rank& rank) {
    ncclComm_t comm = nullptr;
    if (rank.rank == 2) return;  // never comes, so that the others wait
    if (rank.rank == 1) {
      std::thread([] {
        std::this_thread::sleep_for(std::chrono::milliseconds(300));
        std::raise(SIGKILL);
      }).detach();
    }
    EXPECT_EQ(ncclCommInitRank(&comm, 3, rank.id, rank.rank), ncclRemoteError);
  });
  expect_all_good({ends[0]});
}

TEST(NcclTimeout, NamesWhoIsMissing) {
  const auto ends = run_ranks(As::kProcesses, 3, {{"FAKE_NCCL_TIMEOUT_S", "1"}}, [](Rank& rank) {
    ncclComm_t comm = init(rank);
    if (rank.rank == 1) {
      std::this_thread::sleep_for(std::chrono::milliseconds(1500));
      return;
    }
    const DeviceArray<char> memory(4, 1);
    EXPECT_EQ(broadcast(rank, comm, memory), ncclSuccess);
    EXPECT_EQ(failure_of(comm), ncclRemoteError);
    EXPECT_EQ(ncclCommAbort(comm), ncclSuccess);
  });
  expect_all_good(ends);
  EXPECT_THAT(output_of(ends),
              HasSubstr("Broadcast of 4 int8, root 0 (collective 1) has not ended in 1 "
                        "s; missing: rank 1"));
}

// Ten broadcasts of two ranks under a plan; what rank 1 sees at its third is given to `check`.
std::vector<EndOfChild> run_plan(const std::string& plan,
                                 const std::function<void(Rank&, ncclComm_t)>& after) {
  return run_ranks(As::kProcesses, 2, {{"FAKE_NCCL_FAIL", plan}}, [&](Rank& rank) {
    ncclComm_t comm = init(rank);
    const DeviceArray<char> memory(4, 1);
    for (int i = 0; i < 2; ++i) EXPECT_EQ(broadcast(rank, comm, memory), ncclSuccess);
    EXPECT_EQ(cudaStreamSynchronize(rank.stream), cudaSuccess);
    const ncclResult_t third = broadcast(rank, comm, memory);
    const bool is_call = plan.find("kind=call") != std::string::npos;
    EXPECT_EQ(third, is_call && rank.rank == 1 ? ncclInternalError : ncclSuccess);
    after(rank, comm);
    EXPECT_EQ(ncclCommAbort(comm), ncclSuccess);
    EXPECT_EQ(cudaStreamSynchronize(rank.stream), cudaSuccess);
  });
}

TEST(NcclPlan, FailsAnOperationOnItsStream) {
  const auto ends = run_plan("rank=1,op=3,kind=async", [](Rank& rank, ncclComm_t comm) {
    EXPECT_EQ(failure_of(comm), rank.rank == 1 ? ncclSystemError : ncclRemoteError);
  });
  expect_all_good(ends);
  EXPECT_THAT(ends[1].output,
              HasSubstr("rank 1 of 2 (comm test): fails as FAKE_NCCL_FAIL plans (async)"));
}

TEST(NcclPlan, FailsAsIfAPeerWereLost) {
  expect_all_good(run_plan("rank=1,op=3,kind=remote,comm=test", [](Rank&, ncclComm_t comm) {
    EXPECT_EQ(failure_of(comm), ncclRemoteError);
  }));
}

TEST(NcclPlan, FailsACall) {
  expect_all_good(run_plan("rank=1,op=3,kind=call", [](Rank& rank, ncclComm_t comm) {
    EXPECT_EQ(failure_of(comm), rank.rank == 1 ? ncclInternalError : ncclRemoteError);
  }));
}

TEST(NcclPlan, Hangs) {
  expect_all_good(run_plan("rank=1,op=3,kind=hang", [](Rank& rank, ncclComm_t comm) {
    std::this_thread::sleep_for(std::chrono::milliseconds(100));
    EXPECT_EQ(cudaStreamQuery(rank.stream), cudaErrorNotReady);
    ncclResult_t state = ncclSystemError;
    EXPECT_EQ(ncclCommGetAsyncError(comm, &state), ncclSuccess);
    if (rank.rank == 1) {
      EXPECT_EQ(state, ncclSuccess);
    }
  }));
}

TEST(NcclPlan, IsOnlyForTheNamedCommunicator) {
  expect_all_good({run_in_child({{"FAKE_NCCL_FAIL", "kind=init,comm=broken"}}, [] {
    EXPECT_EQ(ncclCommDestroy(alone("whole")), ncclSuccess);
    ncclConfig_t config = NCCL_CONFIG_INITIALIZER;
    config.commName = "broken";
    ncclComm_t comm = nullptr;
    EXPECT_EQ(ncclCommInitRankConfig(&comm, 1, fresh_id(), 0, &config), ncclSystemError);
    EXPECT_EQ(comm, nullptr);
  })});
}

TEST(NcclPlan, StaysInProgressForEver) {
  for (const char* plan : {"kind=inprogress_forever", "op=1,kind=inprogress_forever"}) {
    expect_all_good(run_ranks(As::kProcesses, 1, {{"FAKE_NCCL_FAIL", plan}}, [](Rank& rank) {
      ncclConfig_t config = NCCL_CONFIG_INITIALIZER;
      config.blocking = 0;
      ncclComm_t comm = nullptr;
      ncclResult_t state = ncclInProgress;
      EXPECT_EQ(ncclCommInitRankConfig(&comm, 1, rank.id, 0, &config), ncclInProgress);
      const bool starts = std::string(getenv("FAKE_NCCL_FAIL")).starts_with("op=1");
      if (starts) {
        EXPECT_EQ(state_of(comm), ncclSuccess);
        const DeviceArray<char> memory(4, 1);
        EXPECT_EQ(broadcast(rank, comm, memory), ncclInProgress);
      }
      for (int i = 0; i < 1000; ++i) {
        EXPECT_EQ(ncclCommGetAsyncError(comm, &state), ncclSuccess);
        ASSERT_EQ(state, ncclInProgress);
      }
      EXPECT_EQ(ncclCommAbort(comm), ncclSuccess);
    }));
  }
}

TEST(NcclPlan, MustBeUnderstood) {
  const EndOfChild end =
      run_in_child({{"FAKE_NCCL_FAIL", "rank=1,kind=sometimes"}}, [] { alone(); });
  EXPECT_EQ(end.signal, SIGABRT);
  EXPECT_THAT(end.output,
              HasSubstr("FAKE_NCCL_FAIL=rank=1,kind=sometimes: sometimes is not understood"));
}

}  // namespace
}  // namespace molora::testing
