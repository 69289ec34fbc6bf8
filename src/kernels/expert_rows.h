// Products of each expert's matrices with the rows of its own tokens: what the grouped way of
// computing experts is made of (model/grouped_experts.h). On the CPU.
//
// Rows are read and added to where they lie; nothing is gathered. All sums are in fp32 (fp64 for
// fp64). Bits depend neither on the number of threads nor on what other tokens there are.
//
//   T tokens, C columns, E experts, r LoRA rank, P pairs of a token and an expert that it uses
#pragma once

#include <cstdint>
#include <vector>

#include <ATen/ATen.h>

namespace molora {

using at::Tensor;

// The pairs, by expert and within one by token.
struct ExpertRows {
  Tensor tokens_P;              // [pairs] int64
  Tensor slots_P;               // [pairs] int64: token * experts + expert
  std::vector<int64_t> begins;  // [experts + 1]: where each expert's pairs begin; last: pairs

  int64_t num_pairs() const { return tokens_P.size(0); }
  int64_t num_experts() const { return static_cast<int64_t>(begins.size()) - 1; }
};

// chosen_TK: [tokens, k] int64, each within the experts, none twice for a token; negative ones are
// no choice.
ExpertRows rows_by_expert(const Tensor& chosen_TK, int64_t num_experts);

// The same of `num_held` experts from `first` on alone; other choices are passed over.
ExpertRows rows_by_held_expert(const Tensor& chosen_TK, int64_t first, int64_t num_held);

// The rows of all tokens, as those of one expert.
ExpertRows all_rows(int64_t num_tokens);

// Where each of `wanted` is among `slots`: [wanted] int64. Both: [pairs] int64, the same numbers
// below num_slots, none twice, in two orders.
Tensor places_of_slots(const Tensor& wanted, const Tensor& slots, int64_t num_slots);

// Of the experts held by one rank: a token uses those whose gate is not 0. gates_TE: [tokens,
// experts], fp32 or fp64.
ExpertRows rows_by_gate(const Tensor& gates_TE);

// Whether matrices and values may be rounded to the rows' type on the way, as products in bf16 have
// them.
enum class MatrixRounding { kToRows, kNone };

// For each pair the expert's matrix times the token's row: [pairs, r] in fp32 (fp64). x_TC:
// [tokens, columns], fp32, bf16 or fp64. matrix_ErC: [experts, r, columns].
Tensor project_rows(const Tensor& x_TC, const Tensor& matrix_ErC, const ExpertRows& rows,
                    MatrixRounding rounding = MatrixRounding::kToRows);

// Adds to each token's row, for each of its experts in ascending order, values_Pr times the
// expert's matrix; rounded to out's type after each expert. out_TC: [tokens, columns], columns
// contiguous.
void expand_rows(const Tensor& out_TC, const Tensor& values_Pr, const Tensor& matrix_ErC,
                 const ExpertRows& rows);

// For each expert the sum over its tokens of values^T row: [experts, r, columns] in fp32 (fp64), 0
// for an expert without tokens.
Tensor sum_outer_rows(const Tensor& values_Pr, const Tensor& x_TC, const ExpertRows& rows,
                      MatrixRounding rounding = MatrixRounding::kToRows);

}  // namespace molora
