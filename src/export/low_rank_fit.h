// One plain LoRA in the place of each mixture: what can be merged, of what cannot.
#pragma once

#include <ATen/ATen.h>

#include "model/adapter.h"

namespace molora {

using at::Tensor;

// Sets each linear of `single` to the matrix of its rank that is nearest, in the Frobenius norm, to
// the mixture's with every router's weights at their mean: the singular value decomposition of
//   sum over e of s mean(w_e) B_e A_e,
// found in the space of the experts' own rows, so that nothing as large as the linear is made.
// Plain LoRA is taken over as it is, its scale in B.
//
// mean_weights_RE: [routers, experts], fp64: of each expert over the tokens of some text.
// REQUIRES: both are whole on this rank, on the CPU; `single` has the config of
// single_lora_config().
void fit_single_loras(const AdapterSet& mixture, const Tensor& mean_weights_RE, AdapterSet& single);

}  // namespace molora
