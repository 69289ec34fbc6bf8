// Tensors of more than 2^31 elements: the last blocks of a kernel, on memory of which only the
// pages that they touch are there.
#include <sys/mman.h>

#include "cuda/emulator/body_numbers.h"
#include "cuda/emulator/emulate.h"
#include "kernels/bodies/all_bodies.h"

namespace molora::testing {
namespace {

constexpr int64_t kMany = (int64_t{1} << 31) + 67;

// Address space for `count` numbers, zero until written.
template <typename Number>
class SparseNumbers {
 public:
  explicit SparseNumbers(int64_t count) : bytes_(static_cast<size_t>(count) * sizeof(Number)) {
    void* place = mmap(nullptr, bytes_, PROT_READ | PROT_WRITE,
                       MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (place == MAP_FAILED) throw std::bad_alloc();
    data_ = static_cast<Number*>(place);
  }
  SparseNumbers(const SparseNumbers&) = delete;
  SparseNumbers& operator=(const SparseNumbers&) = delete;
  ~SparseNumbers() { munmap(data_, bytes_); }
  Number* data() const { return data_; }
  Number& operator[](int64_t i) const { return data_[i]; }

 private:
  size_t bytes_;
  Number* data_ = nullptr;
};

template <typename Body>
void emulate_last_block(const Body& body) {
  ASSERT_LE(body.num_blocks(), INT32_MAX);
  emulate_blocks(body, {body.num_blocks() - 1, body.num_blocks(), 0});
}

TEST(LargeOffsets, GatesReachTheLastColumn) {
  constexpr int64_t kRank = 16;
  constexpr int64_t kGates = kMany / kRank;
  constexpr int64_t kLast = kGates * kRank - 1;
  const SparseNumbers<BFloat16> u(kGates * kRank);
  const SparseNumbers<float> weights(kGates);
  const SparseNumbers<BFloat16> out(kGates * kRank);
  const SparseNumbers<float> d_weights(kGates);
  u[kLast] = round_to<BFloat16>(3.0f);
  weights[kGates - 1] = 2.0f;
  emulate_last_block(GateForward<BFloat16, float>{u.data(), weights.data(), out.data(), kGates,
                                                  kRank, 0.5f, RowGroups<256>::for_columns(kRank)});
  EXPECT_EQ(to_wide(out[kLast]), 3.0f);
  emulate_last_block(GateBackward<BFloat16, float>{u.data(), weights.data(), u.data(), out.data(),
                                                   d_weights.data(), kGates, kRank, 0.5f,
                                                   RowGroups<256>::for_columns(kRank, 32)});
  EXPECT_EQ(to_wide(out[kLast]), 3.0f);
  EXPECT_EQ(d_weights[kGates - 1], 4.5f);
}

TEST(LargeOffsets, RowsAreGatheredFromTheFarEnd) {
  constexpr int64_t kWidth = 7;
  constexpr int64_t kRows = kMany / kWidth;
  const SparseNumbers<ByteUnit<4>> x(kRows * kWidth);
  const SparseNumbers<ByteUnit<4>> rows(kRows * kWidth);
  const SparseNumbers<int64_t> index(kRows);
  index[kRows - 1] = kRows - 1;
  x[kRows * kWidth - 1].value = 77;
  emulate_last_block(GatherRows<4>{x.data(), index.data(), rows.data(), kRows, kRows, kWidth,
                                   RowGroups<256>::for_columns(kWidth)});
  EXPECT_EQ(rows[kRows * kWidth - 1].value, 77u);
}

TEST(LargeOffsets, RowsAreCombinedFromTheFarEnd) {
  constexpr int64_t kWidth = 7;
  constexpr int64_t kRows = kMany / kWidth;
  const SparseNumbers<Pack<BFloat16, 1>> rows(kRows * kWidth);
  const SparseNumbers<Pack<BFloat16, 1>> sums(kRows * kWidth);
  const SparseNumbers<int64_t> position(2 * kRows);
  position[2 * kRows - 2] = -1;
  position[2 * kRows - 1] = kRows - 1;
  rows[kRows * kWidth - 1].values[0] = round_to<BFloat16>(5.0f);
  emulate_last_block(CombineRows<BFloat16, 1>{rows.data(), position.data(), sums.data(), kRows,
                                              kRows, 2, kWidth,
                                              RowGroups<256>::for_columns(kWidth)});
  EXPECT_EQ(to_wide(sums[kRows * kWidth - 1].values[0]), 5.0f);
}

TEST(LargeOffsets, TheExchangeIndexCountsBeyondAnInt) {
  constexpr int64_t kDestinations = 63;
  constexpr int64_t kTokens = kMany / kDestinations;
  constexpr int64_t kPairs = kTokens * kDestinations;
  const int64_t chunks = num_exchange_chunks(kTokens);
  const SparseNumbers<bool> needed(kPairs);
  const SparseNumbers<int64_t> position(kPairs);
  const SparseNumbers<int64_t> begins(chunks * kDestinations);
  needed[kPairs - 1] = true;
  emulate_last_block(CountNeeded{needed.data(), begins.data(), kTokens, kDestinations});
  EXPECT_EQ(begins[chunks * kDestinations - 1], 1);
  begins[chunks * kDestinations - 1] = kMany;  // as if all others went before
  emulate_last_block(
      PlaceTokens{needed.data(), begins.data(), position.data(), kTokens, kDestinations});
  EXPECT_EQ(position[kPairs - 1], kMany);
  EXPECT_EQ(position[kPairs - 1 - kDestinations], -1);
  const SparseNumbers<int64_t> tokens(kMany + 1);
  const SparseNumbers<int64_t> destinations(kMany + 1);
  emulate_last_block(ListSentRows{position.data(), tokens.data(), destinations.data(), kPairs,
                                  kDestinations, kMany + 1});
  EXPECT_EQ(tokens[kMany], kTokens - 1);
  EXPECT_EQ(destinations[kMany], kDestinations - 1);
}

TEST(LargeOffsets, RoutersReachTheLastToken) {
  constexpr int kExperts = 64;
  constexpr int64_t kTokens = kMany / kExperts;
  constexpr int64_t kLast = kTokens * kExperts - 1;
  const SparseNumbers<float> logits(kTokens * kExperts);
  const SparseNumbers<float> weights(kTokens * kExperts);
  const SparseNumbers<float> gradient(kTokens * kExperts);
  const SparseNumbers<int64_t> chosen(kTokens);
  logits[kLast] = 1.0f;
  const auto groups = RowGroups<128>::for_columns(kExperts, 32);
  emulate_last_block(
      ChooseExperts<float>{logits.data(), chosen.data(), kTokens, kExperts, 1, groups});
  EXPECT_EQ(chosen[kTokens - 1], kExperts - 1);
  emulate_last_block(GateWeights<float>{logits.data(), chosen.data(), weights.data(), kTokens,
                                        kExperts, 1, RouterGate::kTopkSoftmax, groups});
  EXPECT_EQ(weights[kLast], 1.0f);
  logits[kLast] = 0.0f;
  gradient[kLast] = 64.0f;
  emulate_last_block(GateWeightsBackward<float>{logits.data(), weights.data(), gradient.data(),
                                                weights.data(), kTokens, kExperts,
                                                RouterGate::kSoftmaxTopk, groups});
  EXPECT_EQ(weights[kLast], 0.0f);
}

TEST(LargeOffsets, StatisticsReachTheLastToken) {
  constexpr int kExperts = 64;
  constexpr int64_t kTokens = kMany / kExperts;
  const int64_t chunks = num_statistics_chunks(kTokens);
  const SparseNumbers<float> logits(kTokens * kExperts);
  const SparseNumbers<int64_t> chosen(kTokens);
  const SparseNumbers<double> sums(chunks * (kExperts + 1));
  const SparseNumbers<int64_t> counts(chunks * kExperts);
  chosen[kTokens - 1] = kExperts - 1;
  emulate_last_block(SumTokensOfChunk<float>{logits.data(), chosen.data(), sums.data(),
                                             counts.data(), kTokens, kExperts, 1});
  EXPECT_EQ(counts[chunks * kExperts - 1], 1);
  EXPECT_GT(sums[chunks * (kExperts + 1) - 1], 0.0);
}

TEST(LargeOffsets, DropoutReachesTheLastChannel) {
  constexpr int64_t kChannels = 13;
  constexpr int64_t kTokens = kMany / kChannels;
  const SparseNumbers<float> x(kTokens * kChannels);
  const SparseNumbers<float> y(kTokens * kChannels);
  const SparseNumbers<int64_t> ids(kTokens);
  x[kTokens * kChannels - 1] = 3.0f;
  emulate_last_block(ApplyDropout<float>{x.data(), y.data(), ids.data(), ids.data(), kTokens, 0,
                                         kChannels, 1, 0, 2.0f, RowGroups<256>::for_columns(4)});
  EXPECT_EQ(y[kTokens * kChannels - 1], 6.0f);
}

TEST(LargeOffsets, NormsReachTheLastRow) {
  constexpr int64_t kColumns = 100;
  constexpr int64_t kRows = kMany / kColumns;
  constexpr int64_t kLast = kRows * kColumns - 1;
  const SparseNumbers<float> x(kRows * kColumns);
  const SparseNumbers<float> y(kRows * kColumns);
  const SparseNumbers<float> scales(kRows);
  const std::vector<float> weight(kColumns, 1.0f);
  x[kLast] = 1.0f;
  emulate_last_block(
      RmsNorm<float, 32>{x.data(), weight.data(), y.data(), scales.data(), kRows, kColumns, 0.0f});
  EXPECT_FLOAT_EQ(y[kLast], 10.0f);
  emulate_last_block(RmsNormBackward<float, 32>{x.data(), weight.data(), scales.data(), x.data(),
                                                y.data(), kRows, kColumns});
  EXPECT_NEAR(y[kLast], 0.0f, 1e-5f);
}

TEST(LargeOffsets, TheLastHeadTurns) {
  constexpr int64_t kHeads = kMany / 64;
  const SparseNumbers<Pack<float, 1>> x(kHeads * 64);
  const SparseNumbers<Pack<float, 1>> y(kHeads * 64);
  const SparseNumbers<Pack<float, 1>> table(kHeads * 64);
  table[kHeads * 64 - 1].values[0] = 2.0f;
  x[kHeads * 64 - 1].values[0] = 3.0f;
  emulate_last_block(ApplyRotary<float, 1>{x.data(), table.data(), table.data(), y.data(), kHeads,
                                           1, 32, RotaryTurn::kForward,
                                           RowGroups<256>::for_columns(32)});
  EXPECT_EQ(y[kHeads * 64 - 1].values[0], 6.0f);
}

TEST(LargeOffsets, ALongRunIsUpdatedToItsEnd) {
  const SparseNumbers<float> value(kMany);
  const SparseNumbers<float> first(kMany);
  const SparseNumbers<float> second(kMany);
  const SparseNumbers<float> gradient(kMany);
  gradient[kMany - 1] = 1.0f;
  UpdateRuns<float> body = {};
  body.rates = {1, 1, 0, 1, 1, 0, -1, 1};
  body.add({value.data(), first.data(), second.data(), gradient.data(), kMany});
  emulate_last_block(body);
  EXPECT_EQ(value[kMany - 1], -1.0f);
}

}  // namespace
}  // namespace molora::testing
