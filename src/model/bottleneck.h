// The pieces of an adapter's bottleneck form: down, gate, up.
//
//   u = (x * mask) A^T      [tokens, experts * r]
//   h = u * (s * w)         gates applied in rank space
//   out += h B              [tokens, outputs]
//
// The first of them is computed with the frozen linears and the routers that read the same input
// (model/input_products.h).
//
// Each works on whatever tokens, experts and columns it is given, so that every placement of the
// experts is made of the same arithmetic.
//
//   T tokens, D input columns, R experts * r
#pragma once

#include <optional>
#include <vector>

#include <ATen/ATen.h>

#include "model/adapter.h"
#include "model/forward_context.h"
#include "model/frozen_linear.h"
#include "model/grouped_experts.h"

namespace molora {

using at::Tensor;

// Which tokens a matrix has in its rows: what their dropout masks depend on.
struct TokenIds {
  Tensor samples_T;    // [tokens] int64
  Tensor positions_T;  // [tokens] int64
};
TokenIds token_ids(const TokenBatch& batch);
TokenIds token_ids(const TokenBatch& batch, const Slice& tokens);

bool has_dropout(const LinearAdapter& adapter, const ForwardContext& context);

// The masks of these tokens' columns; nothing without dropout.
std::optional<TokenDropout> token_dropout(const LinearAdapter& adapter,
                                          const ForwardContext& context, const TokenIds& ids,
                                          const Slice& columns);

// x_TD: [tokens, columns], these columns of the linear's input. lora_A: [experts, r, columns].
// Returns [tokens, experts * r] in x's type, dropout applied in training.
Tensor project_down(const Tensor& x_TD, const Tensor& lora_A, const LinearAdapter& adapter,
                    const ForwardContext& context, const TokenIds& ids, const Slice& columns);

// An adapter that reads an input, with what this rank uses of it. Either tensor may be undefined.
struct ReadingAdapter {
  const LinearAdapter* adapter = nullptr;
  Tensor lora_A;         // [experts, r, columns]
  Tensor router_weight;  // [E, columns]
  Slice columns;         // which of the linear's inputs the columns are
};

// What an adapter makes of its input.
struct AdapterReading {
  Tensor u_TR;       // as project_down() gives it
  Tensor router_TE;  // x W_s^T in the router's precision, without the bias
};

struct InputReading {
  std::vector<Tensor> outputs_TO;        // of the frozen linears
  std::vector<AdapterReading> adapters;  // in their order
  Tensor x_TD;                           // as InputProducts has it
};

// Everything that is computed from one input, the input being read and kept once. x_TD: [tokens,
// columns], as many as the frozen weights and the adapters' parts have. ids: of its tokens;
// dropout alone asks for them.
InputReading read_input(const Tensor& x_TD, const std::vector<FrozenLinear>& frozen,
                        const std::vector<ReadingAdapter>& adapters, const ForwardContext& context,
                        const TokenIds& ids);

// u_TR: [tokens, experts * r]; weights_TE: [tokens, experts] in the router's precision, undefined
// without a router. Returns u times gate and scale.
Tensor apply_gates(const Tensor& u_TR, const Tensor& weights_TE, const AdapterSpec& spec);

// out_TO + h_TR B with lora_B: [experts, r, outputs]. In place: out_TO is used up.
Tensor add_up(Tensor out_TO, const Tensor& h_TR, const Tensor& lora_B);

}  // namespace molora
