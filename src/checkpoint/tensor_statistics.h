// Numbers that tell what is in a tensor, and how far two of them are apart.
#pragma once

#include <cstdint>

#include <ATen/ATen.h>

namespace molora {

using at::Tensor;

struct TensorStatistics {
  double norm = 0.0;     // root of the sum of squares in fp64, of the finite elements
  double max_abs = 0.0;  // of the finite elements
  int64_t elements = 0;
  int64_t zeros = 0;
  int64_t nonfinite = 0;
};

// Needs no more than a few MiB besides the tensor. REQUIRES: on the CPU.
TensorStatistics statistics_of(const Tensor& tensor);

// The same of several tensors taken as one.
TensorStatistics joined(const TensorStatistics& a, const TensorStatistics& b);

// How far a is from b; numbers are NaN when either holds something that is not finite.
struct TensorDifference {
  double norm = 0.0;            // of a - b, in fp64
  double reference_norm = 0.0;  // of b
  double max_abs = 0.0;         // of a - b
  bool is_equal = true;         // bit for bit

  // norm / reference_norm; 0 when there is no difference, infinite when b is zero and a is not.
  double relative() const;
};

// REQUIRES: the same shape, on the CPU. Tensors of different types are never equal bit for bit.
TensorDifference difference_of(const Tensor& a, const Tensor& b);

// The same of several tensors taken as one.
TensorDifference joined(const TensorDifference& a, const TensorDifference& b);

}  // namespace molora
