// `rank` exchange: experts live on their tp rank, and only bottleneck values move, r per token and
// chosen expert.
//
//   column   the owner of A_e computes the gated h_e of all tokens that chose e; every rank needs
//   it
//            for its slice of the outputs
//   row      every rank has a part of u_e from its columns; the owner of B_e adds the parts up
//
// Every tp rank sees the same tokens and comes to the same routing, so nobody has to say how many
// rows it sends. Where the host does not know either (ParallelLayout::has_fixed_shapes) each token
// has k rows on every rank, zero where the expert is another rank's, and they are summed.
#pragma once

#include <ATen/ATen.h>

#include "model/adapter.h"
#include "model/bottleneck.h"
#include "model/parallel_layout.h"

namespace molora {

using at::Tensor;

// reading: of all tokens, whole width. Returns h of all experts: [tokens, E * r].
Tensor rank_column_bottleneck(const AdapterReading& reading, const LinearAdapter& adapter,
                              const ForwardPass& pass);

// reading: of all tokens, this rank's columns. Returns h of the experts held here: [tokens, E / tp
// * r].
Tensor rank_row_bottleneck(const AdapterReading& reading, const LinearAdapter& adapter,
                           const ForwardPass& pass);

// The same with the experts in groups (model/grouped_experts.h): what travels is the same, and
// nothing is as wide as E * r. reading: u is not needed. x: the base's input, all tokens; out: what
// is added to in place and returned.
Tensor add_rank_column(const Tensor& out_TO, const Tensor& x_TD, const AdapterReading& reading,
                       const LinearAdapter& adapter, const ForwardPass& pass);
Tensor add_rank_row(const Tensor& partial_TO, const Tensor& x_Td, const AdapterReading& reading,
                    const LinearAdapter& adapter, const ForwardPass& pass);

}  // namespace molora
