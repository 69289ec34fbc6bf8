// One low-rank pair written with fewer ranks.
#pragma once

#include <cstdint>

#include <ATen/ATen.h>

namespace molora {

using at::Tensor;

// The best pair of `lora_rank` ranks in the Frobenius norm (Eckart & Young 1936), from the singular
// values s_i of factor * B^T A.
struct RerankedPair {
  // lora_rank rows each, fp64, balanced: every direction has norm sqrt(s_i) in both. Rows from
  // num_used on are 0 in both.
  Tensor lora_A;  // [lora_rank, in]
  Tensor lora_B;  // [lora_rank, out]
  // Directions that are more than rounding noise of the stored type, at most lora_rank.
  int64_t num_used = 0;
  // The norm of what is left out, as a share of the whole; 0 of a pair that is 0.
  double lost_share = 0.0;
  // The least ranks that lose no more than negligible_loss.
  int64_t ranks_needed = 0;
};

// The share that counts as nothing lost: 1e-6 of fp32 tensors, 1e-12 of fp64 ones.
double negligible_loss(at::ScalarType type);

// lora_A: [r, in], lora_B: [r, out], fp32 or fp64, finite. Computed in fp64 by QR of both factors
// and the SVD of their [r, r] core, on one thread: every rank and every layout gets the same bits
// on the same kind of machine.
RerankedPair rerank(const Tensor& lora_A, const Tensor& lora_B, double factor, int64_t lora_rank);

}  // namespace molora
