#include "parallel/expert_gather.h"

#include <gtest/gtest.h>

#include "comm/thread_communicator.h"

namespace molora {
namespace {

constexpr int kRanks = 3;
// Ranks 0 and 2 use the same columns, as ranks of different dp groups with the same tp rank do.
const std::vector<Slice> kColumns = {{0, 2}, {2, 3}, {0, 2}};

Tensor whole() { return at::sin(at::arange(6 * 2 * 5, at::kDouble)).view({6, 2, 5}); }
Tensor own(int rank) { return whole().slice(0, 2 * rank, 2 * rank + 2).clone(); }

TEST(ExpertGather, GivesEveryRankAllExpertsCutToItsColumns) {
  run_rank_threads(kRanks, [](Communicator& ep) {
    const Slice columns = kColumns[static_cast<size_t>(ep.rank())];
    const Tensor all = gather_experts(ep, own(ep.rank()), kColumns, at::kDouble);
    EXPECT_TRUE(all.equal(whole().slice(2, columns.begin, columns.end())));
    EXPECT_EQ(gather_experts(ep, own(ep.rank()), kColumns, at::kBFloat16).scalar_type(),
              at::kBFloat16);
  });
}

// The owner gets the sum of what all ranks have to say about its experts, column by column.
TEST(ExpertGather, GradientsComeTogetherAtTheOwner) {
  run_rank_threads(kRanks, [](Communicator& ep) {
    Tensor mine = own(ep.rank()).set_requires_grad(true);
    const Tensor all = gather_experts(ep, mine, kColumns, at::kDouble);
    (all * (ep.rank() + 1.0)).sum().backward();
    Tensor expected = at::zeros({2, 2, 5}, at::kDouble);
    expected.slice(2, 0, 2).fill_(1.0 + 3.0);
    expected.slice(2, 2, 5).fill_(2.0);
    EXPECT_TRUE(mine.grad().equal(expected));
  });
}

}  // namespace
}  // namespace molora
