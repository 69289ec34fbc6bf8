// Adapted linears over ranks: the frozen linear split by tensor parallelism, its adapter placed by
// one of four exchange modes (model/exchange_mode.h), the two added before the one collective that
// the base needs anyway.
//
// The law: an adapter's result arrives in the same parallel state as the base output it joins.
//
//   column-parallel (q, k, v; gate, up): weight [out / tp, in]
//     in    the state between linears: [T, D] on every rank, or [t, D] with sequence parallelism
//     out   [T, out / tp], all tokens, this rank's outputs
//     base  copy_to or gather_rows, then W x
//   row-parallel (o; down): weight [out, in / tp]
//     in    [T, in / tp]
//     out   the state between linears again
//     base  W x is a partial sum; reduce_from or scatter_rows
//
// Collectives of the adapters besides those (t > 1 ranks; none with one):
//                column                                row
//   replicate    -, or gather_rows of h [t, E r] (SP)  router: sum of logits
//   gather       gather_experts (ep), as replicate     gather_experts (ep), as replicate
//   rank         all-gather of chosen rows of h        router: sum of logits; reduce-scatter of
//                                                      chosen rows of u
//   tokens       ep: counts, rows, gates, (ids), rows  columns_to_rows of the input, ep as left
//                back; rows_to_columns of the result
// (SP: with grouped experts h is [t, k r], and the choices are gathered as well).
// Each with its transpose in the backward pass. The rows of a `tokens` exchange are sent before the
// base's GEMM and awaited after it.
//
//   T tokens of the micro-batch, t of this rank, D hidden, E experts, r LoRA rank
#pragma once

#include <span>
#include <vector>

#include <ATen/ATen.h>

#include "model/adapter.h"
#include "model/molora_linear.h"
#include "model/parallel_layout.h"

namespace molora {

using at::Tensor;

// A frozen slice and its adapter; null: none.
struct SplitLinear {
  const FrozenLinear* base = nullptr;
  const LinearAdapter* adapter = nullptr;
};

// A and B as this rank uses them: its own, or, in `gather` mode, those of all experts, cut to its
// slice of the linear.
struct UsedExperts {
  Tensor lora_A;  // [E, r, inputs], or [1, r, inputs] for all of them
  Tensor lora_B;  // [E, r, outputs]
};
// `type`: of the rows that they are used on. Collective over the ep group in `gather` mode.
UsedExperts used_experts(const LinearAdapter& adapter, at::ScalarType type,
                         const ForwardPass& pass);

// Column-parallel linears that read the same input: one border, and in `tokens` mode one exchange,
// for all of them.
std::vector<Tensor> column_linears(const Tensor& x, std::span<const SplitLinear> linears,
                                   const ForwardPass& pass);

Tensor row_linear(const Tensor& x_Td, const SplitLinear& linear, const ForwardPass& pass);

}  // namespace molora
