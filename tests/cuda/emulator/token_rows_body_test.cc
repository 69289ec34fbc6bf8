// Rows gathered, ordered by destination and summed back, as kernels.
#include <numeric>

#include "cuda/emulator/body_numbers.h"
#include "cuda/emulator/run_body.h"
#include "kernels/bodies/combine_rows_body.h"
#include "kernels/bodies/exchange_index_body.h"
#include "kernels/bodies/gather_rows_body.h"

namespace molora::testing {
namespace {

template <int kUnitBytes>
void expect_gathered(int64_t x_rows, int64_t rows, int64_t units) {
  using Body = GatherRows<kUnitBytes>;
  using Unit = typename Body::Unit;
  std::vector<Unit> x(static_cast<size_t>(x_rows * units));
  auto* bytes = reinterpret_cast<unsigned char*>(x.data());
  for (size_t i = 0; i < x.size() * sizeof(Unit); ++i)
    bytes[i] = static_cast<unsigned char>(i * 7 + i / 251);
  std::vector<int64_t> index;
  for (int64_t i = 0; i < rows; ++i) index.push_back((i * 5 + 2) % x_rows);
  const auto groups = RowGroups<Body::kThreads>::for_columns(units);
  const std::tuple outputs(std::vector<Unit>(static_cast<size_t>(rows * units)));
  const auto [got] = run_in_every_order(outputs, [&](auto& out, uint64_t order) {
    run_body(Body{x.data(), index.data(), std::get<0>(out).data(), x_rows, rows, units, groups},
             order);
  });
  for (int64_t row = 0; row < rows; ++row) {
    const Unit* expected = x.data() + index[static_cast<size_t>(row)] * units;
    ASSERT_EQ(
        std::memcmp(got.data() + row * units, expected, static_cast<size_t>(units) * sizeof(Unit)),
        0)
        << kUnitBytes << " bytes, row " << row << " of " << rows;
  }
}

TEST(GatherRowsBody, CopiesRowsOfAnyWidth) {
  for (const int64_t rows : kEdgeSizes) {
    for (const int64_t units : {1, 3, 32, 257}) {
      expect_gathered<1>(7, rows, units);
      expect_gathered<2>(7, rows, units);
      expect_gathered<4>(7, rows, units);
      expect_gathered<8>(7, rows, units);
      expect_gathered<16>(7, rows, units);
    }
  }
}

TEST(GatherRowsBody, NoColumnsAreNoWork) {
  EXPECT_EQ((GatherRows<4>{nullptr, nullptr, nullptr, 5, 5, 0, {}}.num_blocks()), 0);
  EXPECT_EQ((GatherRows<4>{nullptr, nullptr, nullptr, 5, 0, 5, {}}.num_blocks()), 0);
}

#if !defined(MOLORA_THROUGH_LAUNCHERS)
TEST(GatherRowsBody, AnIndexOutsideEndsTheProgram) {
  using Body = GatherRows<1>;
  std::vector<Body::Unit> x(4);
  std::vector<Body::Unit> rows(2);
  for (const int64_t wrong : {-1, 4}) {
    const std::vector<int64_t> index = {3, wrong};
    EXPECT_THROW(emulate(Body{x.data(), index.data(), rows.data(), 4, 2, 1, {}}), KernelFault);
  }
}
#endif

struct Pairs {
  int64_t tokens;
  int64_t destinations;
};
// As bytes: std::vector<bool> has no elements to point to.
std::vector<char> some_needs(const Pairs& pairs, uint32_t seed) {
  std::vector<char> needed;
  for (const float number : some_numbers<float>(pairs.tokens * pairs.destinations, seed))
    needed.push_back(number < -0.3f);
  return needed;
}

struct Order {
  std::vector<int64_t> counts;
  std::vector<int64_t> position;
  std::vector<int64_t> tokens;
  std::vector<int64_t> destinations;
};

Order order_of(const Pairs& pairs, const std::vector<char>& needed_bytes) {
  const auto* needed = reinterpret_cast<const bool*>(needed_bytes.data());
  const int64_t chunks = num_exchange_chunks(pairs.tokens);
  const auto total =
      static_cast<size_t>(std::accumulate(needed_bytes.begin(), needed_bytes.end(), 0));
  const auto destinations = static_cast<size_t>(pairs.destinations);
  const std::tuple outputs(std::vector<int64_t>(destinations, -9),
                           std::vector<int64_t>(needed_bytes.size(), -9),
                           std::vector<int64_t>(total, -9), std::vector<int64_t>(total, -9),
                           std::vector<int64_t>(static_cast<size_t>(chunks) * destinations, -9));
  const auto [counts, position, tokens, to,
              begins] = run_in_every_order(outputs, [&](auto& out, uint64_t order) {
    int64_t* begin = std::get<4>(out).data();
    int64_t* position_TP = std::get<1>(out).data();
    run_body(CountNeeded{needed, begin, pairs.tokens, pairs.destinations}, order);
    run_body(BeginDestinations{begin, std::get<0>(out).data(), chunks, pairs.destinations}, order);
    run_body(PlaceTokens{needed, begin, position_TP, pairs.tokens, pairs.destinations}, order);
    run_body(ListSentRows{position_TP, std::get<2>(out).data(), std::get<3>(out).data(),
                          pairs.tokens * pairs.destinations, pairs.destinations,
                          static_cast<int64_t>(total)},
             order);
  });
  return {counts, position, tokens, to};
}

TEST(ExchangeIndexBody, RowsGoByDestinationThenByToken) {
  for (const Pairs& pairs : {Pairs{0, 3}, Pairs{1, 1}, Pairs{31, 2}, Pairs{33, 4}, Pairs{1023, 1},
                             Pairs{1025, 3}, Pairs{2100, 2}, Pairs{70, 40}}) {
    const auto needed = some_needs(pairs, 11);
    Order expected{{}, std::vector<int64_t>(needed.size(), -1), {}, {}};
    for (int64_t p = 0; p < pairs.destinations; ++p) {
      const size_t before = expected.tokens.size();
      for (int64_t t = 0; t < pairs.tokens; ++t) {
        const auto at = static_cast<size_t>(t * pairs.destinations + p);
        if (needed[at] == 0) continue;
        expected.position[at] = static_cast<int64_t>(expected.tokens.size());
        expected.tokens.push_back(t);
        expected.destinations.push_back(p);
      }
      expected.counts.push_back(static_cast<int64_t>(expected.tokens.size() - before));
    }
    const Order order = order_of(pairs, needed);
    EXPECT_EQ(order.counts, expected.counts);
    EXPECT_EQ(order.position, expected.position);
    EXPECT_EQ(order.tokens, expected.tokens);
    EXPECT_EQ(order.destinations, expected.destinations);
  }
}

// More chunks than a warp has lanes: the sums go on from one stretch of chunks to the next.
TEST(ExchangeIndexBody, ManyChunksBeginOneAfterTheOther) {
  constexpr int64_t kChunks = 70;
  std::vector<int64_t> begins;
  for (int64_t i = 0; i < 2 * kChunks; ++i) begins.push_back(i % 5);
  std::vector<int64_t> expected(begins.size());
  std::exclusive_scan(begins.begin(), begins.end(), expected.begin(), int64_t{0});
  const std::tuple outputs(begins, std::vector<int64_t>(2));
  const auto [got, counts] = run_in_every_order(outputs, [&](auto& out, uint64_t order) {
    run_body(BeginDestinations{std::get<0>(out).data(), std::get<1>(out).data(), kChunks, 2},
             order);
  });
  EXPECT_EQ(got, expected);
  EXPECT_EQ(counts, (std::vector<int64_t>{140, 140}));
}

TEST(ExchangeIndexBody, AllAndNothingAreOrders) {
  const Pairs pairs = {40, 3};
  const Order none = order_of(pairs, std::vector<char>(120, 0));
  EXPECT_EQ(none.counts, (std::vector<int64_t>{0, 0, 0}));
  EXPECT_EQ(none.position, std::vector<int64_t>(120, -1));
  EXPECT_EQ(order_of(pairs, std::vector<char>(120, 1)).counts, (std::vector<int64_t>{40, 40, 40}));
}

template <typename Number>
class CombineRowsBody : public ::testing::Test {};
using Numbers = ::testing::Types<float, BFloat16, double>;
TYPED_TEST_SUITE(CombineRowsBody, Numbers);

template <typename Number, int kPack>
void expect_combined(const Pairs& pairs, int64_t units) {
  using Body = CombineRows<Number, kPack>;
  const auto needed = some_needs(pairs, 5);
  const Order order = order_of(pairs, needed);
  const int64_t width = units * kPack;
  const auto num_rows = static_cast<int64_t>(order.tokens.size());
  std::vector<Pack<Number, kPack>> rows(static_cast<size_t>(num_rows * units));
  auto numbers = some_numbers<Number>(num_rows * width, 6);
  // Every other row is so large that the small ones count only after it, or not at all.
  for (int64_t i = 0; i < num_rows * width; ++i) {
    if (i / width % 2 == 0)
      numbers[static_cast<size_t>(i)] =
          round_to<Number>(1e9f * to_wide(numbers[static_cast<size_t>(i)]));
  }
  for (size_t i = 0; i < numbers.size(); ++i) rows[i / kPack].values[i % kPack] = numbers[i];
  // In rank order and the same precision: bit for bit.
  std::vector<Wide<Number>> sums(static_cast<size_t>(pairs.tokens * width));
  for (int64_t row = 0; row < num_rows; ++row) {
    for (int64_t i = 0; i < width; ++i) {
      sums[static_cast<size_t>(order.tokens[static_cast<size_t>(row)] * width + i)] +=
          to_wide(numbers[static_cast<size_t>(row * width + i)]);
    }
  }
  const auto groups = RowGroups<Body::kThreads>::for_columns(units);
  const std::tuple outputs(
      std::vector<Pack<Number, kPack>>(static_cast<size_t>(pairs.tokens * units)));
  const auto [got] = run_in_every_order(outputs, [&](auto& out, uint64_t order_of_threads) {
    run_body(Body{rows.data(), order.position.data(), std::get<0>(out).data(), num_rows,
                  pairs.tokens, pairs.destinations, units, groups},
             order_of_threads);
  });
  for (size_t i = 0; i < sums.size(); ++i) {
    ASSERT_EQ(to_wide(got[i / kPack].values[i % kPack]), to_wide(round_to<Number>(sums[i]))) << i;
  }
}

TYPED_TEST(CombineRowsBody, AddsInRankOrderAndRoundsOnce) {
  for (const Pairs& pairs : {Pairs{0, 3}, Pairs{1, 1}, Pairs{33, 4}, Pairs{300, 7}}) {
    for (const int64_t units : {1, 3, 33}) {
      expect_combined<TypeParam, 1>(pairs, units);
      expect_combined<TypeParam, kWidestPack<TypeParam>>(pairs, units);
    }
  }
}

}  // namespace
}  // namespace molora::testing
