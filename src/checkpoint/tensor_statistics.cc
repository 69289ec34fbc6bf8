#include "checkpoint/tensor_statistics.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include "base/check.h"
#include "tensor/tensor_bytes.h"

namespace molora {

namespace {

constexpr double kNaN = std::numeric_limits<double>::quiet_NaN();
constexpr int64_t kPieceElements = int64_t{1} << 18;

// The elements [begin, end) of a flat tensor, in fp64.
Tensor piece_of(const Tensor& flat, int64_t begin) {
  const int64_t length = std::min(kPieceElements, flat.numel() - begin);
  return flat.narrow(0, begin, length).to(at::kDouble);
}

bool are_equal_bytes(const Tensor& a, const Tensor& b) {
  if (a.scalar_type() != b.scalar_type()) return false;
  const Tensor dense_a = a.contiguous();
  const Tensor dense_b = b.contiguous();
  const auto bytes_a = tensor_bytes(dense_a);
  const auto bytes_b = tensor_bytes(dense_b);
  return std::equal(bytes_a.begin(), bytes_a.end(), bytes_b.begin(), bytes_b.end());
}

}  // namespace

TensorStatistics statistics_of(const Tensor& tensor) {
  const Tensor flat = tensor.detach().reshape({-1});
  TensorStatistics result;
  result.elements = flat.numel();
  double squares = 0.0;
  for (int64_t begin = 0; begin < flat.numel(); begin += kPieceElements) {
    const Tensor piece = piece_of(flat, begin);
    for (const double value : elements<double>(piece)) {
      const bool is_finite = std::isfinite(value);
      const double magnitude = is_finite ? std::abs(value) : 0.0;
      squares += magnitude * magnitude;
      result.max_abs = std::max(result.max_abs, magnitude);
      result.zeros += value == 0.0 ? 1 : 0;
      result.nonfinite += is_finite ? 0 : 1;
    }
  }
  result.norm = std::sqrt(squares);
  return result;
}

TensorStatistics joined(const TensorStatistics& a, const TensorStatistics& b) {
  return {std::hypot(a.norm, b.norm), std::max(a.max_abs, b.max_abs), a.elements + b.elements,
          a.zeros + b.zeros, a.nonfinite + b.nonfinite};
}

TensorDifference difference_of(const Tensor& a, const Tensor& b) {
  MOLORA_CHECK(a.sizes() == b.sizes(), "tensors of {} and {} elements", a.numel(), b.numel());
  const Tensor flat_a = a.detach().reshape({-1});
  const Tensor flat_b = b.detach().reshape({-1});
  TensorDifference result;
  double squares_of_difference = 0.0;
  double squares_of_b = 0.0;
  bool is_finite = true;
  for (int64_t begin = 0; begin < flat_a.numel(); begin += kPieceElements) {
    const Tensor piece_a = piece_of(flat_a, begin);
    const Tensor piece_b = piece_of(flat_b, begin);
    const auto values_a = elements<double>(piece_a);
    const auto values_b = elements<double>(piece_b);
    for (size_t i = 0; i < values_a.size(); ++i) {
      is_finite = is_finite && std::isfinite(values_a[i]) && std::isfinite(values_b[i]);
      const double apart = std::abs(values_a[i] - values_b[i]);
      squares_of_difference += apart * apart;
      squares_of_b += values_b[i] * values_b[i];
      result.max_abs = std::max(result.max_abs, apart);
    }
  }
  result.norm = is_finite ? std::sqrt(squares_of_difference) : kNaN;
  result.reference_norm = is_finite ? std::sqrt(squares_of_b) : kNaN;
  if (!is_finite) result.max_abs = kNaN;
  result.is_equal = are_equal_bytes(flat_a, flat_b);
  return result;
}

double TensorDifference::relative() const {
  if (norm == 0) return 0;
  return reference_norm == 0 ? std::numeric_limits<double>::infinity() : norm / reference_norm;
}

TensorDifference joined(const TensorDifference& a, const TensorDifference& b) {
  const bool is_finite = std::isfinite(a.max_abs) && std::isfinite(b.max_abs);
  return {std::hypot(a.norm, b.norm), std::hypot(a.reference_norm, b.reference_norm),
          is_finite ? std::max(a.max_abs, b.max_abs) : kNaN, a.is_equal && b.is_equal};
}

}  // namespace molora
