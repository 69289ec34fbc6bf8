// Which experts a token uses, and with what weight.
//
//   z = W_s x + b_s                        logits, [tokens, experts]
//   topk_softmax   S = top-k(z),  w_e = softmax over S of z        (MING-MOE, arXiv 2404.09027)
//   softmax_topk   p = softmax(z), S = top-k(z), w_e = p_e for e in S, not renormalised
//   dense_softmax  w = softmax(z)
//
// All of it in fp32 (fp64 when the model computes in fp64). Equal logits: the lower index wins, on
// every rank and in every order of computation.
//
//   T tokens on this rank, E experts, K experts per token
#pragma once

#include <cstdint>
#include <vector>

#include <ATen/ATen.h>

#include "comm/communicator.h"
#include "model/adapter.h"

namespace molora {

using at::Tensor;

// The choice of one forward pass, kept so that a recomputation uses it again instead of choosing
// anew: a flipped choice in the middle of the backward pass would be silent damage.
struct RoutingChoices {
  std::vector<Tensor> chosen_TK;  // by router_index; [tokens, k] int64, undefined when not yet made
};

// What the routers of one or more forward passes did, summed over tokens.
struct RouterStatistics {
  Tensor counts_RE;    // [routers, experts] int64: tokens that chose each expert
  Tensor prob_sum_RE;  // [routers, experts] fp64: sum of the full softmax
  Tensor z_sum_R;      // [routers] fp64: sum of logsumexp(z)^2
  int64_t num_tokens = 0;
  // [routers, experts] fp64: sum of each expert's weight. Only where a caller has set it to zeros:
  // training does not ask for it.
  Tensor weight_sum_RE = {};
};
RouterStatistics empty_router_statistics(const AdapterSet& adapters, at::Device device = at::kCPU);

// The gradient that the auxiliary losses send into the logits of each router. The losses are
//   balance  E * sum_e f_e P_e   with f_e the share of all choices that went to e and P_e the mean
//            of the full softmax (Fedus et al. 2021, arXiv 2101.03961; f over k choices)
//   z        mean of logsumexp(z)^2 (Zoph et al. 2022, arXiv 2202.08906)
// as means over the tokens of the whole step on all ranks and over the routers. `share_RE` is
// filled in before the backward pass, from counts summed over all ranks: it is not differentiable.
struct AuxiliaryGradient {
  double balance_coef = 0.0;
  double z_coef = 0.0;
  // Multiplies both: what the caller divides all gradients by afterwards (supervised tokens), over
  // the tokens and the routers that the means run over.
  double scale = 0.0;
  Tensor share_RE;  // f: [routers, experts], fp64; rows sum to 1

  bool is_active() const { return balance_coef != 0.0 || z_coef != 0.0; }
};

struct AuxiliaryLosses {
  double balance = 0.0;
  double z = 0.0;
};
// The values of both losses for these statistics (summed over all ranks), on the CPU.
AuxiliaryLosses auxiliary_losses(const RouterStatistics& statistics, const AdapterSet& adapters);

// What routing needs from its surroundings; all pointers may be null and outlive the forward pass
// (auxiliary also the backward pass).
struct RoutingContext {
  RoutingChoices* choices = nullptr;
  RouterStatistics* statistics = nullptr;
  const AuxiliaryGradient* auxiliary = nullptr;
};

struct Routing {
  Tensor weights_TE;  // in the router's precision, 0 for experts that were not chosen
  Tensor chosen_TK;   // int64; every expert with the gate dense_softmax

  // [tokens, experts] bool.
  Tensor chosen_TE() const;
};

// x_TD: [tokens, in]. Differentiable with respect to x and the router.
Routing route(const Tensor& x_TD, const LinearAdapter& adapter, const RoutingContext& context);

// The same from x W_s^T in the router's precision, [tokens, experts], which was computed with the
// other products of x (model/bottleneck.h).
Routing route_product(const Tensor& product_TE, const LinearAdapter& adapter,
                      const RoutingContext& context);

// The same when each tp rank has the product of its part of x's columns and of the router's.
// Two collectives: the sum of the logits, [tokens, experts] in the router's precision; in the
// backward pass the sum of their gradients, because every rank uses the weights in its own part of
// the work. All ranks come to the same choices.
Routing route_partial_product(const Tensor& product_TE, const LinearAdapter& adapter,
                              const RoutingContext& context, Communicator& tp);

}  // namespace molora
