// The test of the NCCL communicator can fail: each planted fault of its own (base/mutation.h) is
// noticed by what is received.
#include <fmt/format.h>

#include "base/mutation.h"
#include "cuda/program/nccl_scene.h"

namespace molora {
namespace {

using testing::Buffer;

class NcclMutation : public testing::NcclScene {
 protected:
  // Parts of another value each round, filled in on the compute stream and copied away on it; ""
  // when all that arrives is what was sent. Collective.
  std::string fault_of_exchange(Communicator& comm) {
    const auto size = static_cast<size_t>(comm.size());
    constexpr size_t kPart = 4096;
    Buffer<uint8_t> send(*memory_, kPart * size);
    Buffer<uint8_t> recv(*memory_, kPart * size);
    Buffer<uint8_t> copy(*memory_, kPart * size);
    const std::vector<size_t> parts(size, kPart);
    const auto value = [](size_t from, size_t to, size_t round) {
      return static_cast<uint8_t>(1 + 8 * round + 64 * from + to);
    };
    std::string fault;
    for (size_t round = 0; round < 7; ++round) {
      for (size_t peer = 0; peer < size; ++peer) {
        cudaMemsetAsync(send.span().data() + peer * kPart,
                        value(static_cast<size_t>(comm.rank()), peer, round), kPart, compute_);
      }
      comm.all_to_all(send.span(), parts, recv.span(), parts);
      cudaMemcpyAsync(copy.span().data(), recv.span().data(), kPart * size,
                      cudaMemcpyDeviceToDevice, compute_);
      const std::vector<uint8_t> got = copy.values();
      for (size_t peer = 0; peer < size; ++peer) {
        const uint8_t expected = value(peer, static_cast<size_t>(comm.rank()), round);
        if (got[peer * kPart] == expected && got[(peer + 1) * kPart - 1] == expected) continue;
        fault = fmt::format("round {}, from rank {}: {}, not {}", round, peer, got[peer * kPart],
                            expected);
      }
      // A mutant of the order may be ahead of the collective.
      context_->wait_until([this] { return cudaDeviceSynchronize() == cudaSuccess; });
    }
    for (const std::string& text : all_gather_text(*world_, fault)) {
      if (!text.empty()) return text;
    }
    return {};
  }

  void expect_noticed(Mutation mutation) {
    const auto comm = context_->make_communicator(*world_);
    EXPECT_EQ(fault_of_exchange(*comm), "");
    set_active_mutation(mutation);
    const std::string fault = fault_of_exchange(*comm);
    set_active_mutation(Mutation::kNone);
    EXPECT_NE(fault, "");
    EXPECT_EQ(fault_of_exchange(*comm), "");
  }
};

TEST_F(NcclMutation, CollectiveBeforeTheWorkGivenBefore) {
  expect_noticed(Mutation::kNcclBeforeWork);
}
TEST_F(NcclMutation, LaterWorkBeforeTheCollective) { expect_noticed(Mutation::kNcclAfterIgnored); }
TEST_F(NcclMutation, OwnPartLost) { expect_noticed(Mutation::kNcclOwnPartLost); }
TEST_F(NcclMutation, PartsSwapped) { expect_noticed(Mutation::kNcclPartsSwapped); }

}  // namespace
}  // namespace molora
