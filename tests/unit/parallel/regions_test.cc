// Each region against its meaning on one device: with L = sum over ranks of <y_rank, c_rank>, the
// gradient of every rank's input is what the transpose of the forward map says.
#include "parallel/regions.h"

#include <mutex>
#include <numeric>

#include <gtest/gtest.h>

#include "comm/thread_communicator.h"
#include "parallel/tensor_collectives.h"

namespace molora {
namespace {

constexpr int kRanks = 3;
const std::vector<int64_t> kRows = {3, 0, 2};  // uneven, and a rank without any
constexpr int64_t kTokens = 5;

Tensor numbers(at::IntArrayRef shape, int64_t seed) {
  const int64_t count =
      std::accumulate(shape.begin(), shape.end(), int64_t{1}, std::multiplies<>());
  return at::sin(at::arange(count, at::kDouble) * 1.7 + static_cast<double>(seed)).view(shape);
}

int64_t row_begin(int rank) {
  return std::accumulate(kRows.begin(), kRows.begin() + rank, int64_t{0});
}

// What each rank has at the end, for a look from outside.
using ByRank = std::vector<Tensor>;

ByRank on_ranks(const std::function<Tensor(Communicator&)>& body) {
  ByRank results(kRanks);
  run_rank_threads(
      kRanks, [&](Communicator& comm) { results[static_cast<size_t>(comm.rank())] = body(comm); });
  return results;
}

// The gradient of x when the rank's result counts with these weights.
Tensor gradient_of(const Tensor& x, const Tensor& y, const Tensor& weights) {
  (y * weights).sum().backward();
  return x.grad();
}

TEST(Regions, CopyIsTheIdentityAndSumsGradients) {
  const ByRank gradients = on_ranks([](Communicator& comm) {
    Tensor x = numbers({4, 2}, 1).set_requires_grad(true);
    const Tensor y = copy_to(comm, x);
    EXPECT_TRUE(y.equal(x));
    return gradient_of(x, y, numbers({4, 2}, 10 + comm.rank()));
  });
  const Tensor expected = numbers({4, 2}, 10) + numbers({4, 2}, 11) + numbers({4, 2}, 12);
  for (const Tensor& gradient : gradients) EXPECT_TRUE(gradient.equal(expected));
}

TEST(Regions, ReduceSumsAndPassesGradientsOn) {
  const Tensor expected = numbers({4, 2}, 0) + numbers({4, 2}, 1) + numbers({4, 2}, 2);
  on_ranks([&](Communicator& comm) {
    Tensor x = numbers({4, 2}, comm.rank()).set_requires_grad(true);
    const Tensor y = reduce_from(comm, x);
    EXPECT_TRUE(y.equal(expected));
    const Tensor weights = numbers({4, 2}, 20);  // the same on every rank, as the rule says
    EXPECT_TRUE(gradient_of(x, y, weights).equal(weights));
    return y;
  });
}

TEST(Regions, GatherPutsRowsTogetherAndScattersPartialGradients) {
  const Tensor whole = numbers({kTokens, 2}, 5);
  const Tensor weights =
      numbers({kTokens, 2}, 30) + numbers({kTokens, 2}, 31) + numbers({kTokens, 2}, 32);
  on_ranks([&](Communicator& comm) {
    const int64_t begin = row_begin(comm.rank());
    const int64_t end = begin + kRows[static_cast<size_t>(comm.rank())];
    Tensor x = whole.slice(0, begin, end).clone().set_requires_grad(true);
    const Tensor y = gather_rows(comm, x, kRows);
    EXPECT_TRUE(y.equal(whole));
    const Tensor gradient = gradient_of(x, y, numbers({kTokens, 2}, 30 + comm.rank()));
    EXPECT_TRUE(at::allclose(gradient, weights.slice(0, begin, end), 1e-15, 1e-15));
    return y;
  });
}

TEST(Regions, ScatterSumsRowsAndGathersGradients) {
  const Tensor sum = numbers({kTokens, 2}, 0) + numbers({kTokens, 2}, 1) + numbers({kTokens, 2}, 2);
  const Tensor weights = numbers({kTokens, 2}, 40);
  on_ranks([&](Communicator& comm) {
    const int64_t begin = row_begin(comm.rank());
    const int64_t end = begin + kRows[static_cast<size_t>(comm.rank())];
    Tensor x = numbers({kTokens, 2}, comm.rank()).set_requires_grad(true);
    const Tensor y = scatter_rows(comm, x, kRows);
    EXPECT_TRUE(y.equal(sum.slice(0, begin, end)));
    EXPECT_TRUE(gradient_of(x, y, weights.slice(0, begin, end)).equal(weights));
    return y;
  });
}

TEST(Regions, ColumnsBecomeRowsAndBack) {
  const ColumnLayout layout{{{0, 2}, {2, 2}, {4, 2}}, kRows, 6};
  const Tensor whole = numbers({kTokens, 6}, 7);
  on_ranks([&](Communicator& comm) {
    const int64_t begin = row_begin(comm.rank());
    const int64_t end = begin + kRows[static_cast<size_t>(comm.rank())];
    const Slice columns = layout.columns[static_cast<size_t>(comm.rank())];
    const Tensor own_columns = whole.slice(1, columns.begin, columns.end());
    const Tensor own_rows = whole.slice(0, begin, end);
    Tensor x = own_columns.clone().set_requires_grad(true);
    const Tensor rows = columns_to_rows(comm, x, layout);
    EXPECT_TRUE(rows.equal(own_rows));
    EXPECT_TRUE(rows_to_columns(comm, rows, layout).equal(own_columns));
    const Tensor weights = numbers({kTokens, 6}, 50);
    EXPECT_TRUE(gradient_of(x, rows, weights.slice(0, begin, end))
                    .equal(weights.slice(1, columns.begin, columns.end())));
    return rows;
  });
}

// Ranks 0 and 1 hold the same columns: the gradient of these is the sum of both.
TEST(Regions, ColumnsHeldTwiceGetBothGradients) {
  const ColumnLayout layout{{{0, 3}, {0, 3}, {3, 3}}, kRows, 6};
  on_ranks([&](Communicator& comm) {
    const int64_t begin = row_begin(comm.rank());
    const int64_t end = begin + kRows[static_cast<size_t>(comm.rank())];
    Tensor x = numbers({kTokens, 6}, 8).slice(0, begin, end).clone().set_requires_grad(true);
    const Tensor y = rows_to_columns(comm, x, layout);
    const Slice columns = layout.columns[static_cast<size_t>(comm.rank())];
    EXPECT_TRUE(y.equal(numbers({kTokens, 6}, 8).slice(1, columns.begin, columns.end())));
    const Tensor gradient = gradient_of(x, y, numbers({kTokens, 3}, 60 + comm.rank()));
    const Tensor expected = at::cat(
        {numbers({kTokens, 3}, 60) + numbers({kTokens, 3}, 61), numbers({kTokens, 3}, 62)}, 1);
    EXPECT_TRUE(gradient.equal(expected.slice(0, begin, end)));
    return y;
  });
}

// bf16 summands are added in fp32 and rounded once.
TEST(TensorCollectives, SumsOfBf16AreRoundedOnce) {
  on_ranks([&](Communicator& comm) {
    const Tensor mine = at::full({4}, comm.rank() == 0 ? 256.0 : 0.75, at::kBFloat16);
    const Tensor sum = all_reduce_sum(comm, mine);
    EXPECT_EQ(sum.scalar_type(), at::kBFloat16);
    // 256 + 0.75 is 256 in bf16 when it is rounded each time; 257.5 rounds to 258.
    EXPECT_TRUE(sum.equal(at::full({4}, 258.0, at::kBFloat16)));
    return sum;
  });
}

TEST(TensorCollectives, SumsOfIntegersAreExact) {
  run_rank_threads(3, [](Communicator& world) {
    const int64_t large = (int64_t{1} << 60) + 1;  // no floating-point type holds it
    const Tensor values = at::full({5}, large * (world.rank() == 0 ? 1 : -world.rank()), at::kLong);
    EXPECT_TRUE(all_reduce_sum(world, values).equal(at::full({5}, -2 * large, at::kLong)));
  });
}

TEST(TensorCollectives, EqualPartsGoToEveryMember) {
  run_rank_threads(3, [](Communicator& world) {
    const Tensor send = at::arange(6, at::kLong).view({3, 2}) + 100 * world.rank();
    const Tensor got = all_to_all_equal(world, send);
    for (int64_t from = 0; from < 3; ++from) {
      EXPECT_TRUE(got[from].equal(at::arange(2, at::kLong) + 2 * world.rank() + 100 * from));
    }
  });
}

TEST(TensorCollectives, ColumnsAreGatheredInOrder) {
  const std::vector<int64_t> columns = {2, 1, 1};
  const Tensor whole = numbers({3, 4}, 2);
  on_ranks([&](Communicator& comm) {
    const int64_t begin =
        std::accumulate(columns.begin(), columns.begin() + comm.rank(), int64_t{0});
    const int64_t end = begin + columns[static_cast<size_t>(comm.rank())];
    const Tensor all = all_gather_columns(comm, whole.slice(1, begin, end), columns);
    EXPECT_TRUE(all.equal(whole));
    return all;
  });
}

}  // namespace
}  // namespace molora
