#include "comm/thread_communicator.h"

#include <atomic>
#include <thread>

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

// Short, because these tests wait for it; long enough for a thread to be scheduled.
constexpr RankThreadOptions kShort{.time_limit = std::chrono::milliseconds(300)};

// A rank that never comes, of a sub-group whose ranks in the world are not its own numbers.
TEST(ThreadCommunicatorTimeLimit, WhoWaitsWhereForWhomIsNamed) {
  const auto body = [](Communicator& world) {
    const auto pair = world.split("pair", world.rank() / 2);
    pair->barrier();
    if (world.rank() == 3) return;
    if (world.rank() == 2) {
      std::byte byte{};
      pair->broadcast({&byte, 1}, 0);
    }
  };
  EXPECT_THROW_WITH(run_rank_threads(4, body, kShort), CommError,
                    "pair: rank 2 waited in broadcast #2 for rank 3 for 300 ms");
}

TEST(ThreadCommunicatorTimeLimit, EveryRankThatWaitedIsNamed) {
  const auto body = [](Communicator& world) {
    const auto other = world.split("other", 0);
    if (world.rank() == 2) return;
    (world.rank() == 0 ? world : *other).barrier();
  };
  EXPECT_THROW_WITH(run_rank_threads(3, body, kShort), CommError,
                    "world: rank 0 waited in barrier #2 for ranks 1, 2",
                    "other: rank 1 waited in barrier #1 for ranks 0, 2");
}

// Rank 1 has begun the exchange but does not end it before rank 0 has given up.
TEST(ThreadCommunicatorTimeLimit, HoldsForTheEndOfACollectiveToo) {
  std::atomic<bool> has_given_up{false};
  const auto body = [&has_given_up](Communicator& world) {
    const std::vector<size_t> none(2, 0);
    const auto pending = world.start_all_to_all({}, none, {}, none);
    while (world.rank() == 1 && !has_given_up) std::this_thread::yield();
    try {
      pending->wait();
    } catch (const CommError&) {
      has_given_up = true;
      throw;
    }
  };
  EXPECT_THROW_WITH(run_rank_threads(2, body, kShort), CommError,
                    "world: rank 0 waited in all_to_all #1 for rank 1 for 300 ms");
}

TEST(ThreadCommunicatorTimeLimit, AnotherFailureIsReportedFirst) {
  const auto body = [](Communicator& world) {
    if (world.rank() == 0) world.barrier();
    throw DataError("bad input");
  };
  EXPECT_THROW_WITH(run_rank_threads(2, body, kShort), DataError, "bad input");
}

}  // namespace
}  // namespace molora
