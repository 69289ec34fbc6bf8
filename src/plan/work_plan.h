// How much arithmetic a micro-step is on one rank, predicted: multiplications and additions of the
// matrix products (2 per pair), and the bytes that adapters move in memory beside them.
//
// Frozen weights have no gradient, so the backward pass of a base linear is one product, not two.
// Adapters are computed dense in their rank: all experts that are present, in two products, with
// gates in between. By mode, per token, in -> out with W = E r (t = tp, p = ep):
//
//               A: tokens x in x width                B: tokens x width x out
//   replicate   column: all (sp: 1/t) x in x W        all x W x out/t
//   gather      row:    all x in/t x W                all x W x out
//   rank        column: all x in x W/t                all x W x out/t
//               row:    all x in/t x W                all x W/t x out
//   tokens      rows received x in x W/p              rows received x W/p x out
//
// so that without sequence parallelism `replicate` does the same products on every tp rank of a
// column-parallel linear, `rank` shares them out, and `tokens` does each token's once in a group,
// where a token is a row for every rank that one of its experts lives on.
#pragma once

#include "plan/plan_input.h"

namespace molora {

// Of one rank, one micro-step.
struct Work {
  double flops = 0;
  double memory_bytes = 0;  // read and written, of adapters only
};
Work operator+(const Work& a, const Work& b);
Work operator*(const Work& work, double factor);

// One matrix product: [tokens, in] by [in, out].
struct Product {
  double tokens = 0;
  double in = 0;
  double out = 0;
  double pairs() const { return tokens * in * out; }
};

// Of one adapted linear in the forward pass of one layer, computed dense in its rank.
struct AdapterProducts {
  Product a;
  Product b;
  double router_tokens = 0;  // each a product with [in of a, E]
};
AdapterProducts adapter_products(const PlanInput& input, LinearGroup group,
                                 const PlannedLinear& linear, ExchangeMode mode);

// Rows that one rank computes for itself and for others, in `tokens` mode.
double received_rows(const PlanInput& input, LinearGroup group);

// How many earlier tokens of its row a token sees in the mean. window 0: all.
double mean_context(int64_t row_tokens, int64_t window);

// Base linears, attention core and head: forward, backward and recomputation. Memory is left out.
Work base_work(const PlanInput& input);

// Adapters of one group in all layers, routers and plain LoRA included: forward, backward and
// recomputation. Memory: activations in and out, the parameters used, and what the exchange itself
// moves (`tokens`: rows packed, unpacked and put back; `gather`: experts fetched).
Work adapter_work(const PlanInput& input, LinearGroup group, ExchangeMode mode);

}  // namespace molora
