#include "checkpoint/tensor_statistics.h"

#include <cmath>
#include <limits>

#include <gtest/gtest.h>

#include "base/error.h"
#include "support/expect_throw.h"

namespace molora {
namespace {

constexpr double kInfinity = std::numeric_limits<double>::infinity();

TEST(TensorStatistics, NormLargestAndZerosOfAllTypes) {
  for (const auto type : {at::kFloat, at::kDouble, at::kBFloat16, at::kHalf, at::kInt}) {
    const Tensor tensor = at::tensor({3.0, 0.0, -4.0, 0.0, 0.0, 12.0}).to(type).view({2, 3});
    const TensorStatistics result = statistics_of(tensor);
    EXPECT_EQ(result.norm, 13.0) << at::toString(type);
    EXPECT_EQ(result.max_abs, 12.0);
    EXPECT_EQ(result.elements, 6);
    EXPECT_EQ(result.zeros, 3);
    EXPECT_EQ(result.nonfinite, 0);
  }
}

TEST(TensorStatistics, WhatIsNotFiniteIsCountedApart) {
  const TensorStatistics result =
      statistics_of(at::tensor({3.0, std::nan(""), kInfinity, -kInfinity, 4.0}));
  EXPECT_EQ(result.nonfinite, 3);
  EXPECT_EQ(result.norm, 5.0);
  EXPECT_EQ(result.max_abs, 4.0);
}

// More elements than a piece, with a view that is not contiguous; fp32 would lose the ones.
TEST(TensorStatistics, LargeTensorsAreSummedInFp64) {
  const int64_t count = 3 << 18;
  Tensor tensor = at::ones({count, 2}, at::kFloat);
  tensor.select(1, 0).fill_(7);
  tensor[count - 1][1] = 10000.0;
  const TensorStatistics result = statistics_of(tensor.select(1, 1));
  EXPECT_EQ(result.elements, count);
  EXPECT_DOUBLE_EQ(result.norm, std::sqrt(1e8 + static_cast<double>(count - 1)));
  EXPECT_EQ(result.max_abs, 10000.0);
  EXPECT_EQ(statistics_of(at::empty({0, 3})).norm, 0.0);
}

TEST(TensorStatistics, SeveralTensorsAreTakenAsOne) {
  const Tensor a = at::tensor({3.0, 0.0});
  const Tensor b = at::tensor({-4.0, kInfinity, 0.0});
  const TensorStatistics result = joined(statistics_of(a), statistics_of(b));
  EXPECT_EQ(result.norm, 5.0);
  EXPECT_EQ(result.max_abs, 4.0);
  EXPECT_EQ(result.elements, 5);
  EXPECT_EQ(result.zeros, 2);
  EXPECT_EQ(result.nonfinite, 1);
}

TEST(TensorDifference, IsRelativeToTheSecond) {
  const TensorDifference result = difference_of(at::tensor({3.0, 1.0}), at::tensor({3.0, 4.0}));
  EXPECT_DOUBLE_EQ(result.relative(), 3.0 / 5.0);
  EXPECT_EQ(result.max_abs, 3.0);
  EXPECT_FALSE(result.is_equal);
}

TEST(TensorDifference, EqualIsBitForBit) {
  const Tensor a = at::tensor({0.0, std::nan("")});
  EXPECT_TRUE(difference_of(a, a.clone()).is_equal);
  const TensorDifference zeros = difference_of(at::tensor({0.0}), at::tensor({-0.0}));
  EXPECT_FALSE(zeros.is_equal);
  EXPECT_EQ(zeros.relative(), 0.0);
  EXPECT_FALSE(difference_of(at::tensor({1.0}), at::tensor({1.0F})).is_equal);
  EXPECT_TRUE(difference_of(at::empty({0}), at::empty({0})).is_equal);
}

TEST(TensorDifference, ToZeroIsInfiniteAndToNothingFiniteIsNaN) {
  EXPECT_EQ(difference_of(at::tensor({1.0}), at::tensor({0.0})).relative(), kInfinity);
  EXPECT_EQ(difference_of(at::tensor({0.0}), at::tensor({0.0})).relative(), 0.0);
  const TensorDifference result = difference_of(at::tensor({kInfinity}), at::tensor({1.0}));
  EXPECT_TRUE(std::isnan(result.relative()));
  EXPECT_TRUE(std::isnan(result.max_abs));
}

TEST(TensorDifference, SeveralTensorsAreTakenAsOne) {
  const TensorDifference a = difference_of(at::tensor({3.0, 6.0}), at::tensor({0.0, 6.0}));
  const TensorDifference b = difference_of(at::tensor({4.0, 8.0}), at::tensor({0.0, 8.0}));
  const TensorDifference both = joined(a, b);
  EXPECT_DOUBLE_EQ(both.relative(), 5.0 / 10.0);
  EXPECT_EQ(both.max_abs, 4.0);
  EXPECT_FALSE(joined(TensorDifference{}, a).is_equal);
  EXPECT_TRUE(joined(TensorDifference{}, TensorDifference{}).is_equal);
  const TensorDifference bad = difference_of(at::tensor({kInfinity}), at::tensor({1.0}));
  EXPECT_TRUE(std::isnan(joined(bad, a).max_abs));
  EXPECT_TRUE(std::isnan(joined(a, bad).relative()));
}

TEST(TensorDifference, ShapesMustBeTheSame) {
  EXPECT_THROW_WITH((void)difference_of(at::empty({2}), at::empty({3})), InternalError,
                    "tensors of 2 and 3 elements");
}

}  // namespace
}  // namespace molora
