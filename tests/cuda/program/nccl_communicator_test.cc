// The NCCL communicator over the test library: what every communicator must do, several groups on
// one GPU, the order of streams, and what its failures say.
#include <chrono>
#include <cstdlib>
#include <thread>

#include <cuda_runtime_api.h>
#include <gtest/gtest.h>

#include "comm/mpi_communicator.h"
#include "comm/mpi_env.h"
#include "cuda/program/nccl_scene.h"
#include "support/communicator_contract.h"
#include "watch/place.h"

namespace molora {
namespace {

using std::chrono::milliseconds;
using testing::Buffer;

class NcclCommunicator : public testing::NcclScene {};

TEST_F(NcclCommunicator, KeepsTheContract) {
  const auto comm = context_->make_communicator(*world_);
  const auto other_host = world_->split("other host", 0);
  const auto other = context_->make_communicator(*other_host);
  EXPECT_EQ(other->name(), "other");
  EXPECT_EQ(comm->place(), BufferPlace::kDevice);
  testing::check_broadcast(*comm, *memory_);
  testing::check_all_gather(*comm, *memory_);
  testing::check_all_to_all(*comm, *memory_);
  testing::check_equal_all_to_all(*comm, *memory_);
  testing::check_uneven_all_gather(*comm, *memory_);
  testing::check_started_exchange(*comm, *other, *memory_);
  const std::vector<size_t> none(static_cast<size_t>(comm->size()), 0);
  comm->all_to_all({}, none, {}, none);
  comm->all_gather({}, {});
  comm->broadcast({}, 0);
  comm->barrier();
}

// Groups of groups, on one stream each rank, in one order.
TEST_F(NcclCommunicator, WorksInSeveralGroupsAtOnce) {
  const auto all = context_->make_communicator(*world_);
  const auto half_host = world_->split("half host", world_->rank() % 2);
  std::unique_ptr<Communicator> half;
  if (half_host->size() > 1) half = context_->make_communicator(*half_host);
  for (int round = 0; round < 20; ++round) {
    testing::check_all_to_all(*all, *memory_);
    if (half) testing::check_uneven_all_gather(*half, *memory_);
    if (half) testing::check_equal_all_to_all(*half, *memory_);
  }
}

// What the compute stream was given before is seen, and what it is given after sees the result,
// without the host waiting in between.
TEST_F(NcclCommunicator, TakesItsPlaceInTheOrderOfTheComputeStream) {
  const auto comm = context_->make_communicator(*world_);
  const auto size = static_cast<size_t>(comm->size());
  constexpr size_t kBytes = 1 << 16;
  Buffer<uint8_t> mine(*memory_, kBytes);
  Buffer<uint8_t> all(*memory_, kBytes * size);
  Buffer<uint8_t> after(*memory_, kBytes * size);
  for (int round = 1; round <= 20; ++round) {
    cudaMemsetAsync(mine.span().data(), 16 * round + comm->rank(), kBytes, compute_);
    comm->all_gather(mine.span(), all.span());
    cudaMemcpyAsync(after.span().data(), all.span().data(), kBytes * size, cudaMemcpyDeviceToDevice,
                    compute_);
    const std::vector<uint8_t> got = after.values();
    for (size_t peer = 0; peer < size; ++peer) {
      const auto expected = static_cast<uint8_t>(16 * round + static_cast<int>(peer));
      ASSERT_EQ(got[peer * kBytes], expected) << "round " << round;
      ASSERT_EQ(got[(peer + 1) * kBytes - 1], expected) << "round " << round;
    }
  }
}

// The host is ahead of the GPU: what it has given that one to do is done before the group ends.
TEST_F(NcclCommunicator, EndsAfterWhatIsUnderWay) {
  constexpr size_t kBytes = 1 << 16;
  auto comm = context_->make_communicator(*world_);
  const auto size = static_cast<size_t>(comm->size());
  Buffer<uint8_t> mine(*memory_, kBytes);
  Buffer<uint8_t> all(*memory_, kBytes * size);
  const auto pause = [](void*) { std::this_thread::sleep_for(milliseconds(300)); };
  ASSERT_EQ(cudaLaunchHostFunc(compute_, pause, nullptr), cudaSuccess);
  ASSERT_EQ(cudaMemsetAsync(mine.span().data(), 16 + comm->rank(), kBytes, compute_), cudaSuccess);
  comm->all_gather(mine.span(), all.span());
  comm.reset();
  const std::vector<uint8_t> got = all.values();
  for (size_t peer = 0; peer < size; ++peer) {
    const auto expected = static_cast<uint8_t>(16 + static_cast<int>(peer));
    EXPECT_EQ(got[peer * kBytes], expected) << "from rank " << peer;
    EXPECT_EQ(got[(peer + 1) * kBytes - 1], expected) << "from rank " << peer;
  }
}

// A rank that does not come: the others say where they are, within the limit, and nothing hangs.
TEST_F(NcclCommunicator, SaysWhoWaitsWhereWhenARankDoesNotCome) {
  const auto context = make_context(milliseconds(2000));
  auto comm = context->make_communicator(*world_);
  testing::check_all_gather(*comm, *memory_);
  const bool stays_away = comm->rank() + 1 == comm->size();
  if (stays_away) {
    std::this_thread::sleep_for(milliseconds(4000));
  } else {
    Buffer<int> mine(*memory_, {1});
    Buffer<int> all(*memory_, static_cast<size_t>(comm->size()));
    const PlaceScope place(WorkPlace{3, Direction::kForward, "down_proj"});
    const auto begin = std::chrono::steady_clock::now();
    comm->all_gather(mine.span(), all.span());
    try {
      context->wait_until([this] { return cudaStreamQuery(compute_) == cudaSuccess; });
      ADD_FAILURE() << "nobody noticed";
    } catch (const CommError& error) {
      const std::string text = error.what();
      EXPECT_NE(text.find("all_gather #2"), std::string::npos) << text;
      EXPECT_NE(text.find("(world)"), std::string::npos) << text;
      EXPECT_NE(text.find("layer 3 down_proj, forward"), std::string::npos) << text;
      EXPECT_NE(text.find("parallel.collective_timeout is 2 s"), std::string::npos) << text;
    }
    EXPECT_LT(std::chrono::steady_clock::now() - begin, milliseconds(20000));
    // Ended for good: the next call says the same instead of waiting.
    EXPECT_THROW(comm->all_gather(mine.span(), all.span()), CommError);
  }
  comm.reset();
  world_->barrier();
}

TEST_F(NcclCommunicator, RefusesTwoRanksOnOneGpu) {
  const auto context = NcclContext::make({.gpu = 0, .compute_stream = [this] { return compute_; }});
  try {
    (void)context->make_communicator(*world_);
    ADD_FAILURE() << "accepted";
  } catch (const ConfigError& error) {
    EXPECT_NE(std::string(error.what()).find("ranks 0 and 1 of world are on the same GPU"),
              std::string::npos)
        << error.what();
  }
}

}  // namespace
}  // namespace molora
