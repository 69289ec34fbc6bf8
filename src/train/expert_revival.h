// Dead experts that begin anew: slightly changed copies of another expert and of its row of the
// router, with moments of zero.
//
// A number x of the copied expert becomes x (1 + n / 100) with n normal, a function of (seed,
// tensor, expert, step, place in the whole tensor) alone; biases are copied as they are, so that
// the router's weights decide between the copies. The same on every layout: where other ranks hold
// the copied expert, its values come from them (one sum over ep or tp for each tensor).
#pragma once

#include <cstdint>
#include <vector>

#include "comm/mesh.h"
#include "model/adapter.h"
#include "train/adamw.h"

namespace molora {

struct Revival {
  int64_t router = 0;         // by router_index
  int64_t source = 0;         // the expert that is copied
  std::vector<int64_t> dead;  // experts that begin anew; frozen ones among them stay as they are
};

struct RevivalParts {
  AdapterSet& adapters;
  AdamW& optimizer;
  const Mesh& mesh;
};

// Collective. REQUIRES: equal arguments on all ranks; equal copies of all parameters.
void revive_experts(const RevivalParts& parts, const std::vector<Revival>& revivals, uint64_t seed,
                    int64_t step);

}  // namespace molora
