#include "parallel/token_exchange.h"

#include <gtest/gtest.h>

#include "comm/thread_communicator.h"

namespace molora {
namespace {

constexpr int kRanks = 4;

// Rank r has 3 r tokens (none on rank 0); token t of rank r goes to rank p when (t + r p) % 3 == 0.
Tensor needed(int rank) {
  Tensor result = at::zeros({3 * rank, kRanks}, at::kBool);
  for (int64_t t = 0; t < result.size(0); ++t) {
    for (int64_t p = 0; p < kRanks; ++p) result[t][p] = (t + rank * p) % 3 == 0;
  }
  return result;
}

// Row t of rank r: (r, t).
Tensor labelled(int rank) {
  const int64_t tokens = 3 * rank;
  return at::stack({at::full({tokens}, rank, at::kDouble), at::arange(tokens, at::kDouble)}, 1);
}

TEST(TokenExchange, RowsArriveOncePerDestinationInOrderOfSenderAndToken) {
  run_rank_threads(kRanks, [](Communicator& ep) {
    const TokenExchange exchange = plan_token_exchange(ep, needed(ep.rank()));
    const DispatchedRows dispatched = start_dispatch(exchange, labelled(ep.rank()));
    dispatched.wait();
    std::vector<Tensor> expected;
    for (int sender = 0; sender < kRanks; ++sender) {
      const Tensor chosen = needed(sender).select(1, ep.rank());
      expected.push_back(labelled(sender).index_select(0, chosen.nonzero().flatten()));
    }
    EXPECT_TRUE(dispatched.rows_RD.equal(at::cat(expected)));
    EXPECT_EQ(exchange.num_received(), dispatched.rows_RD.size(0));
  });
}

// What comes back is the sum over the destinations: each adds its own factor.
TEST(TokenExchange, CombineSumsOverTheDestinations) {
  run_rank_threads(kRanks, [](Communicator& ep) {
    const Tensor mine = needed(ep.rank());
    const TokenExchange exchange = plan_token_exchange(ep, mine);
    const DispatchedRows dispatched = start_dispatch(exchange, labelled(ep.rank()));
    dispatched.wait();
    const Tensor back = combine(exchange, dispatched.rows_RD * (ep.rank() + 1.0));
    const Tensor factor = mine.to(at::kDouble).mv(at::arange(1, kRanks + 1, at::kDouble));
    EXPECT_TRUE(at::allclose(back, labelled(ep.rank()) * factor.unsqueeze(1), 1e-15, 1e-15));
  });
}

// d/dx of sum <combine(f * dispatch(x)), c> is f-weighted c: the round trip is its own transpose.
TEST(TokenExchange, GradientsGoTheSameWay) {
  run_rank_threads(kRanks, [](Communicator& ep) {
    const Tensor mine = needed(ep.rank());
    const TokenExchange exchange = plan_token_exchange(ep, mine);
    Tensor x = labelled(ep.rank()).set_requires_grad(true);
    const DispatchedRows dispatched = start_dispatch(exchange, x);
    dispatched.wait();
    const Tensor weights = at::sin(labelled(ep.rank()) + 1.0);
    (combine(exchange, dispatched.rows_RD * (ep.rank() + 1.0)) * weights).sum().backward();
    const Tensor factor = mine.to(at::kDouble).mv(at::arange(1, kRanks + 1, at::kDouble));
    EXPECT_TRUE(at::allclose(x.grad(), weights * factor.unsqueeze(1), 1e-15, 1e-15));
  });
}

// A rank that sends and receives nothing runs the same collectives, backward too.
TEST(TokenExchange, RanksWithoutRowsStayInTheGraph) {
  run_rank_threads(kRanks, [](Communicator& ep) {
    Tensor only_to_one = at::zeros({2, kRanks}, at::kBool);
    if (ep.rank() != 3) only_to_one.select(1, 1).fill_(true);
    const TokenExchange exchange = plan_token_exchange(ep, only_to_one);
    EXPECT_EQ(exchange.num_received(), ep.rank() == 1 ? 6 : 0);
    Tensor x = at::ones({2, 3}, at::kDouble).set_requires_grad(true);
    const DispatchedRows dispatched = start_dispatch(exchange, x);
    dispatched.wait();
    combine(exchange, dispatched.rows_RD).sum().backward();
    EXPECT_TRUE(x.grad().equal(at::full({2, 3}, ep.rank() == 3 ? 0.0 : 1.0, at::kDouble)));
  });
}

// The sum of three destinations in bf16: made in fp32, rounded once.
TEST(TokenExchange, CombineRoundsOnce) {
  run_rank_threads(kRanks, [](Communicator& ep) {
    const TokenExchange exchange =
        plan_token_exchange(ep, at::ones({ep.rank() == 2 ? 1 : 0, kRanks}, at::kBool));
    const double value = ep.rank() == 0 ? 256.0 : 0.5;
    const Tensor back = combine(exchange, at::full({1, 1}, value, at::kBFloat16));
    if (ep.rank() == 2) {
      EXPECT_EQ(back.item<double>(), 258.0);  // 257.5, to even
    }
  });
}

}  // namespace
}  // namespace molora
