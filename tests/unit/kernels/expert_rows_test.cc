// The inner products of grouped experts against LibTorch's, with each set of vector instructions
// that this machine has, and how pairs of tokens and experts are put in order.
#include "kernels/expert_rows.h"

#include <algorithm>
#include <cmath>
#include <string>
#include <tuple>
#include <utility>
#include <vector>

#include <fmt/format.h>
#include <gtest/gtest.h>

#include "base/error.h"
#include "kernels/host/expert_rows_kernels.h"
#include "support/expect_throw.h"

namespace molora {
namespace {

std::vector<std::pair<std::string, ExpertRowsKernelSet>> kernel_sets() {
  std::vector<std::pair<std::string, ExpertRowsKernelSet>> sets = {
      {"base", expert_rows_kernels_base()}};
#if defined(__x86_64__)
  if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma")) {
    sets.emplace_back("AVX2", expert_rows_kernels_avx2());
  }
  if (__builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
      __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl")) {
    sets.emplace_back("AVX-512", expert_rows_kernels_avx512());
    if (__builtin_cpu_supports("avx512bf16")) {
      sets.emplace_back("AVX512-BF16", expert_rows_kernels_avx512bf16());
    }
  }
#endif
  return sets;
}

const ExpertRowsKernels& of_type(const ExpertRowsKernelSet& set, at::ScalarType type) {
  if (type == at::kDouble) return set.fp64;
  return type == at::kFloat ? set.fp32 : set.bf16;
}

// Rows 3, 4, 5, ... of a matrix, with their values and one expert's matrix.
struct OneExpert {
  Tensor rows_TC;
  Tensor tokens_P;
  Tensor values_Pr;
  Tensor matrix_rC;

  OneExpert(at::ScalarType type, int64_t pairs, int64_t columns, int64_t lora_rank) {
    at::manual_seed(static_cast<uint64_t>(pairs * 1000 + columns));
    const at::ScalarType wide = type == at::kDouble ? at::kDouble : at::kFloat;
    rows_TC = at::randn({pairs + 5, columns}, wide).to(type);
    tokens_P = at::arange(3, pairs + 3);
    values_Pr = at::randn({pairs, lora_rank}, wide);
    matrix_rC = at::randn({lora_rank, columns}, wide);
  }

  ExpertRowsArguments arguments() const {
    return {.rows = rows_TC.data_ptr(),
            .row_stride = rows_TC.stride(0),
            .tokens = tokens_P.const_data_ptr<int64_t>(),
            .num_pairs = tokens_P.size(0),
            .values = values_Pr.data_ptr(),
            .matrix = matrix_rC.data_ptr(),
            .matrix_stride = matrix_rC.stride(0),
            .lora_rank = matrix_rC.size(0),
            .begin_column = 0,
            .end_column = matrix_rC.size(1)};
  }
  Tensor used_rows() const { return rows_TC.index_select(0, tokens_P).to(at::kDouble); }
  double tolerance() const {
    return rows_TC.scalar_type() == at::kDouble  ? 1e-13
           : rows_TC.scalar_type() == at::kFloat ? 1e-5
                                                 : 1e-2;
  }
};

void expect_close(const Tensor& got, const Tensor& expected, double tolerance) {
  const double scale = std::max(1.0, expected.abs().max().item<double>());
  EXPECT_LE((got.to(at::kDouble) - expected).abs().max().item<double>(), tolerance * scale);
}

// Sizes that fill tiles and vectors, and that do not.
template <typename Check>
void for_each_case(const Check& check) {
  for (const auto& [name, set] : kernel_sets()) {
    for (const at::ScalarType type : {at::kFloat, at::kDouble, at::kBFloat16}) {
      for (const auto& [pairs, columns, lora_rank] :
           {std::tuple(1, 1, 1), {8, 48, 8}, {17, 131, 5}, {300, 64, 16}, {5, 35, 67}, {9, 900, 120}}) {
        SCOPED_TRACE(fmt::format("{}, {}, {} pairs, {} columns, rank {}", name, at::toString(type),
                                 pairs, columns, lora_rank));
        check(of_type(set, type), OneExpert(type, pairs, columns, lora_rank));
      }
    }
  }
}

TEST(ExpertRowsKernels, ProjectRowsOnAMatrix) {
  for_each_case([](const ExpertRowsKernels& kernels, const OneExpert& of) {
    kernels.project(of.arguments());
    expect_close(of.values_Pr, of.used_rows().mm(of.matrix_rC.to(at::kDouble).t()), of.tolerance());
  });
}

TEST(ExpertRowsKernels, AddToRowsWhatTheirValuesMakeOfAMatrix) {
  for_each_case([](const ExpertRowsKernels& kernels, const OneExpert& of) {
    const Tensor expected_TC =
        of.rows_TC.to(at::kDouble)
            .index_add(0, of.tokens_P,
                       of.values_Pr.to(at::kDouble).mm(of.matrix_rC.to(at::kDouble)));
    kernels.expand(of.arguments());
    expect_close(of.rows_TC, expected_TC, of.tolerance());
  });
}

TEST(ExpertRowsKernels, AddOuterProductsOfValuesAndRows) {
  for_each_case([](const ExpertRowsKernels& kernels, const OneExpert& of) {
    const Tensor expected_rC =
        of.matrix_rC.to(at::kDouble).addmm(of.values_Pr.to(at::kDouble).t(), of.used_rows());
    kernels.sum_outer(of.arguments());
    expect_close(of.matrix_rC, expected_rC, of.tolerance());
  });
}

TEST(ExpertRowsKernels, LeaveOtherColumnsAlone) {
  for_each_case([](const ExpertRowsKernels& kernels, const OneExpert& of) {
    if (of.rows_TC.size(1) < 20) return;
    const Tensor before_TC = of.rows_TC.clone();
    ExpertRowsArguments part = of.arguments();
    part.begin_column = 3;
    part.end_column = 20;
    kernels.expand(part);
    EXPECT_TRUE(of.rows_TC.slice(1, 0, 3).equal(before_TC.slice(1, 0, 3)));
    EXPECT_TRUE(of.rows_TC.slice(1, 20).equal(before_TC.slice(1, 20)));
    EXPECT_FALSE(of.rows_TC.slice(1, 3, 20).equal(before_TC.slice(1, 3, 20)));
  });
}

TEST(ExpertRowsKernels, RoundBf16ToTheNearestAndKeepWhatIsNoNumber) {
  for (const auto& [name, set] : kernel_sets()) {
    SCOPED_TRACE(name);
    OneExpert of(at::kBFloat16, 1, 67, 1);
    of.rows_TC.fill_(1.0);
    of.values_Pr.fill_(1.0);
    of.matrix_rC.zero_();
    of.matrix_rC[0][1] = 1.0 / 256;   // half a unit in the last place: to even
    of.matrix_rC[0][2] = 3.0 / 256;   // one and a half: to even
    of.matrix_rC[0][66] = 1.1 / 256;  // above half, in a column that fills no vector
    of.matrix_rC[0][3] = std::nan("");
    of.matrix_rC[0][65] = std::nan("");
    set.bf16.expand(of.arguments());
    const Tensor row_C = of.rows_TC[3].to(at::kDouble);
    EXPECT_EQ(row_C[0].item<double>(), 1.0);
    EXPECT_EQ(row_C[1].item<double>(), 1.0);
    EXPECT_EQ(row_C[2].item<double>(), 1.0 + 4.0 / 256);
    EXPECT_EQ(row_C[66].item<double>(), 1.0 + 2.0 / 256);
    EXPECT_TRUE(std::isnan(row_C[3].item<double>()));
    EXPECT_TRUE(std::isnan(row_C[65].item<double>()));
  }
}

TEST(ExpertRows, AreInTheOrderOfExpertsAndTokens) {
  const Tensor chosen_TK = at::tensor({2, 0, 0, 2, 3, 2}, at::kLong).view({3, 2});
  const ExpertRows rows = rows_by_expert(chosen_TK, 5);
  EXPECT_EQ(rows.begins, (std::vector<int64_t>{0, 2, 2, 5, 6, 6}));
  EXPECT_TRUE(rows.tokens_P.equal(at::tensor({0, 1, 0, 1, 2, 2}, at::kLong)));
  EXPECT_TRUE(rows.slots_P.equal(at::tensor({0, 5, 2, 7, 12, 13}, at::kLong)));
}

TEST(ExpertRows, OfHeldExpertsPassOverTheOthers) {
  const Tensor chosen_TK = at::tensor({2, 0, 0, 2, 3, 2}, at::kLong).view({3, 2});
  const ExpertRows rows = rows_by_held_expert(chosen_TK, 2, 2);
  EXPECT_EQ(rows.begins, (std::vector<int64_t>{0, 3, 4}));
  EXPECT_TRUE(rows.tokens_P.equal(at::tensor({0, 1, 2, 2}, at::kLong)));
  EXPECT_TRUE(rows.slots_P.equal(at::tensor({0, 2, 4, 5}, at::kLong)));
}

TEST(ExpertRows, AreFoundInAnotherOrder) {
  const Tensor slots = at::tensor({7, 2, 5}, at::kLong);
  const Tensor wanted = at::tensor({2, 5, 7}, at::kLong);
  EXPECT_TRUE(places_of_slots(wanted, slots, 9).equal(at::tensor({1, 2, 0}, at::kLong)));
}

TEST(ExpertRows, OfGatesAreThoseThatAreNotZero) {
  const Tensor gates_TE = at::tensor({0.0, 0.5, 0.0, 0.0, -0.1, 0.2}).view({2, 3});
  for (const at::ScalarType type : {at::kFloat, at::kDouble}) {
    const ExpertRows rows = rows_by_gate(gates_TE.to(type));
    EXPECT_EQ(rows.begins, (std::vector<int64_t>{0, 0, 2, 3}));
    EXPECT_TRUE(rows.tokens_P.equal(at::tensor({0, 1, 1}, at::kLong)));
    EXPECT_TRUE(rows.slots_P.equal(at::tensor({1, 4, 5}, at::kLong)));
  }
}

TEST(ExpertRows, OfAllTokensAreMultipliedByAMatrixThatIsNotRounded) {
  at::manual_seed(5);
  const Tensor x_TC = at::randn({70, 131}).to(at::kBFloat16);
  const Tensor matrix_RC = at::randn({9, 131});
  const Tensor d_TR = at::randn({70, 9});
  const ExpertRows rows = all_rows(70);
  const Tensor exact_TC = x_TC.to(at::kDouble);
  expect_close(project_rows(x_TC, matrix_RC.unsqueeze(0), rows, MatrixRounding::kNone),
               exact_TC.mm(matrix_RC.to(at::kDouble).t()), 1e-6);
  expect_close(sum_outer_rows(d_TR, x_TC, rows, MatrixRounding::kNone).squeeze(0),
               d_TR.to(at::kDouble).t().mm(exact_TC), 1e-6);
}

TEST(ExpertRows, RefuseAnExpertThatIsNotThere) {
  const Tensor chosen_TK = at::tensor({0, 7}, at::kLong).view({2, 1});
  EXPECT_THROW_WITH(rows_by_expert(chosen_TK, 5), InternalError, "choices among 5 experts");
}

TEST(ExpertRows, RefuseRowsOfAnotherType) {
  const ExpertRows rows = rows_by_expert(at::zeros({2, 1}, at::kLong), 1);
  EXPECT_THROW_WITH(project_rows(at::zeros({2, 4}, at::kHalf), at::zeros({1, 2, 4}), rows),
                    InternalError, "rows of type Half");
}

}  // namespace
}  // namespace molora
