#include "comm/thread_communicator.h"

#include <atomic>

#include <gtest/gtest.h>

#include "base/error.h"
#include "support/communicator_contract.h"
#include "support/expect_throw.h"

namespace molora {
namespace {

class ThreadCommunicator : public ::testing::TestWithParam<int> {};

TEST_P(ThreadCommunicator, KeepsTheContract) {
  run_rank_threads(GetParam(), testing::check_communicator_contract);
}

INSTANTIATE_TEST_SUITE_P(Ranks, ThreadCommunicator, ::testing::Values(1, 2, 3, 5, 8));

TEST(ThreadCommunicatorFaults, SingleKeepsTheContract) {
  testing::check_communicator_contract(*make_single_communicator("world"));
}

TEST(ThreadCommunicatorFaults, AFailingRankWakesTheOthersAndIsTheOneReported) {
  std::atomic<int> woken{0};
  const auto body = [&woken](Communicator& comm) {
    if (comm.rank() == 1) throw DataError("bad input");
    try {
      comm.barrier();
    } catch (const CommError&) {
      ++woken;
      throw;
    }
  };
  EXPECT_THROW_WITH(run_rank_threads(3, body), DataError, "bad input");
  EXPECT_EQ(woken, 2);
}

TEST(ThreadCommunicatorFaults, DifferentOperationsAreNamed) {
  const auto body = [](Communicator& comm) {
    if (comm.rank() == 0) {
      comm.barrier();
    } else {
      std::byte byte{};
      comm.broadcast({&byte, 1}, 0);
    }
  };
  EXPECT_THROW_WITH(run_rank_threads(2, body), InternalError, "barrier #1", "broadcast #1");
}

TEST(ThreadCommunicatorFaults, DifferentSizesAreNoticed) {
  const auto body = [](Communicator& comm) {
    const std::vector<std::byte> send(comm.rank() == 0 ? 4 : 8);
    std::vector<std::byte> recv(send.size() * 2);
    comm.all_gather(send, recv);
  };
  EXPECT_THROW_WITH(run_rank_threads(2, body), InternalError, "sizes differ");
}

TEST(ThreadCommunicatorFaults, PartsThatDoNotAddUpAreRefused) {
  const auto comm = make_single_communicator("world");
  const std::vector<std::byte> send(4);
  std::vector<std::byte> recv(4);
  const std::vector<size_t> wrong = {3};
  EXPECT_THROW(comm->all_to_all(send, wrong, recv, wrong), InternalError);
}

}  // namespace
}  // namespace molora
