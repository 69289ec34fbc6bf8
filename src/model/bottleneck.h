// The pieces of an adapter's bottleneck form: down, gate, up.
//
//   u = (x * mask) A^T      [tokens, experts * r]
//   h = u * (s * w)         gates applied in rank space
//   out += h B              [tokens, outputs]
//
// Each works on whatever tokens, experts and columns it is given, so that every placement of the
// experts is made of the same arithmetic.
//
//   T tokens, D input columns, R experts * r
#pragma once

#include <ATen/ATen.h>

#include "model/adapter.h"
#include "model/forward_context.h"

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

// x_TD: [tokens, columns], these columns of the linear's input. lora_A: [experts, r, columns].
// Returns [tokens, experts * r] in x's type, dropout applied in training.
Tensor project_down(const Tensor& x_TD, const Tensor& lora_A, const LinearAdapter& adapter,
                    const ForwardContext& context, const TokenIds& ids, const Slice& columns);

// u_TR: [tokens, experts * r]; weights_TE: [tokens, experts] in the router's precision, undefined
// without a router. Returns u times gate and scale.
Tensor apply_gates(const Tensor& u_TR, const Tensor& weights_TE, const AdapterSpec& spec);

// out_TO + h_TR B with lora_B: [experts, r, outputs].
Tensor add_up(const Tensor& out_TO, const Tensor& h_TR, const Tensor& lora_B);

}  // namespace molora
