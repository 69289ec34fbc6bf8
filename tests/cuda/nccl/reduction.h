// The arithmetic of reductions: every element type, every operator, in a chosen order of ranks.
#pragma once

#include <cstddef>
#include <vector>

#include "operation.h"
#include "settings.h"

namespace molora::fake_nccl {

struct ReductionStep {
  ncclDataType_t type = ncclFloat32;
  ncclRedOp_t reduction = ncclSum;
  ReductionOrder order = ReductionOrder::kRank;
  size_t first = 0;  // index of the first element in the whole operation, for the ring
  size_t total = 0;  // elements of the whole operation
};

// out[i] = the reduction of inputs[0][i], inputs[1][i], ...; each partial result is rounded to the
// type. An average multiplies before it adds (floating types) or divides at the end (integers), as
// NCCL does. REQUIRES: out overlaps no input.
void reduce(const ReductionStep& step, const std::vector<const std::byte*>& inputs, size_t elements,
            std::byte* out);

}  // namespace molora::fake_nccl
