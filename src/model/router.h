// Which experts a token uses, and with what weight.
//
//   z = W_s x + b_s                        logits, [tokens, experts]
//   topk_softmax   S = top-k(z),  w_e = softmax over S of z        (MING-MOE, arXiv 2404.09027)
//   softmax_topk   p = softmax(z), S = top-k(z), w_e = p_e for e in S, not renormalised
//   dense_softmax  w = softmax(z)
//   threshold      p = softmax(z), t = t_max sigmoid(c), S = {p_e >= t}, w_e = (p_e - t) / sum over
//                  S of (p - t); c is one more logit; S may be empty (AdaMoLE, arXiv 2405.00361)
//   top_p          p = softmax(z), S = the fewest of the highest whose sum exceeds top_p_mass,
//                  w_e = p_e (MixLoRA's dynamic routing, arXiv 2404.15159)
//
// With RouterConfig.selection the k experts are drawn instead: the k highest of z + Gumbel numbers.
// With a choice bias the k highest of z + bias are chosen; weights are of z alone. Shared experts
// come behind the routed ones, are always chosen and have weight 1.
//
// All of it in fp32 (fp64 when the model computes in fp64). Equal logits: the lower index wins, on
// every rank and in every order of computation.
//
//   T tokens on this rank, E routed experts, K experts per token, Z logits: E, and the threshold's
#pragma once

#include <cstdint>
#include <vector>

#include <ATen/ATen.h>

#include "comm/communicator.h"
#include "model/adapter.h"
#include "model/token_batch.h"

namespace molora {

using at::Tensor;

struct AuxiliaryGradient;  // model/router_losses.h

// The choice of one forward pass, kept so that a recomputation uses it again instead of choosing
// anew: a flipped choice in the middle of the backward pass would be silent damage.
struct RoutingChoices {
  // By router_index; of the routed experts, [tokens, k] int64, undefined when not yet made. With an
  // open choice k is E and kNoChoice stands for the experts that were not chosen.
  std::vector<Tensor> chosen_TK;
};

constexpr int64_t kNoChoice = -1;

// What the routers of one or more forward passes did, summed over tokens. E: the most routed
// experts that a router has; 0 behind the last of those that have fewer.
struct RouterStatistics {
  Tensor counts_RE;  // [routers, experts] int64: tokens that chose each expert
  // [routers, experts] fp64: sum of the full softmax (with the gate threshold: less the threshold)
  Tensor prob_sum_RE;
  Tensor z_sum_R;  // [routers] fp64: sum of logsumexp(z)^2
  int64_t num_tokens = 0;
  // The following only where a caller has set them to zeros.
  // [routers, experts] fp64: sum of each expert's weight.
  Tensor weight_sum_RE = {};
  Tensor entropy_sum_R = {};  // [routers] fp64: sum of the entropy of the full softmax
  // [samples] int64: the samples' numbers, ascending; needed by what follows.
  Tensor sample_numbers_S = {};
  // [routers, samples, experts] fp64: sum of the full softmax over the tokens of each sample.
  Tensor importance_RSE = {};
  // [groups, experts] fp64: what the tokens of each group of samples chose (with the gate
  // dense_softmax: the sum of the softmax), over all routers; and the group of each sample.
  Tensor group_load_NE = {};
  Tensor groups_S = {};
};
RouterStatistics empty_router_statistics(const AdapterSet& adapters, at::Device device = at::kCPU);

// What drawn experts depend on besides the token.
struct DrawContext {
  bool is_training = false;
  uint64_t seed = 0;
  uint64_t step = 0;
};

// What routing needs from its surroundings; all pointers may be null and outlive the forward pass
// (auxiliary also the backward pass).
struct RoutingContext {
  RoutingChoices* choices = nullptr;
  RouterStatistics* statistics = nullptr;
  const AuxiliaryGradient* auxiliary = nullptr;
  TokenIds ids = {};  // of the tokens that are routed; undefined where nothing asks for them
  DrawContext draw = {};
};

// Of routed and shared experts.
struct Routing {
  Tensor weights_TE;  // in the router's precision, 0 for experts that were not chosen
  Tensor chosen_TK;   // int64; every expert with the gate dense_softmax; kNoChoice: none

  // [tokens, experts] bool.
  Tensor chosen_TE() const;
};

// x_TD: [tokens, in]. Differentiable with respect to x and the router.
Routing route(const Tensor& x_TD, const LinearAdapter& adapter, const RoutingContext& context);

// The same from x W_s^T in the router's precision, [tokens, logits], which was computed with the
// other products of x (model/bottleneck.h). A router by task needs no product: its logits, and
// their gradient, are of the tasks in context.ids.
Routing route_product(const Tensor& product_TZ, const LinearAdapter& adapter,
                      const RoutingContext& context);

// The same when each tp rank has the product of its part of x's columns and of the router's.
// Two collectives: the sum of the logits, [tokens, logits] in the router's precision; in the
// backward pass the sum of their gradients, because every rank uses the weights in its own part of
// the work. All ranks come to the same choices.
Routing route_partial_product(const Tensor& product_TZ, const LinearAdapter& adapter,
                              const RoutingContext& context, Communicator& tp);

}  // namespace molora
