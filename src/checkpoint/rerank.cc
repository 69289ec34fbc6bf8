#include "checkpoint/rerank.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <vector>

#include <ATen/Parallel.h>

#include "base/check.h"

namespace molora {

namespace {

// The order of additions inside QR and SVD depends on the number of threads.
class OneThread {
 public:
  OneThread() : before_(at::get_num_threads()) { at::set_num_threads(1); }
  ~OneThread() { at::set_num_threads(before_); }
  OneThread(const OneThread&) = delete;
  OneThread& operator=(const OneThread&) = delete;
  OneThread(OneThread&&) = delete;
  OneThread& operator=(OneThread&&) = delete;

 private:
  int before_;
};

double rounding_noise(at::ScalarType type) {
  return type == at::kDouble ? std::numeric_limits<double>::epsilon()
                             : static_cast<double>(std::numeric_limits<float>::epsilon());
}

// The norm of the values from `begin` on.
double norm_from(const std::vector<double>& values, int64_t begin) {
  double squares = 0.0;
  for (auto i = static_cast<size_t>(begin); i < values.size(); ++i) {
    squares += values[i] * values[i];
  }
  return std::sqrt(squares);
}

}  // namespace

double negligible_loss(at::ScalarType type) { return type == at::kDouble ? 1e-12 : 1e-6; }

RerankedPair rerank(const Tensor& lora_A, const Tensor& lora_B, double factor, int64_t lora_rank) {
  MOLORA_CHECK_EQ(lora_A.size(0), lora_B.size(0));
  const OneThread one_thread;
  const auto [q_A, r_A] = at::linalg_qr(lora_A.to(at::kDouble).t());
  const auto [q_B, r_B] = at::linalg_qr(lora_B.to(at::kDouble).t());
  const auto [u, s, vh] = at::linalg_svd(r_B.matmul(r_A.t()) * factor, /*full_matrices=*/false);
  const Tensor values_tensor = s.contiguous();
  const auto* begin = values_tensor.const_data_ptr<double>();
  const std::vector<double> values(begin, begin + values_tensor.numel());

  RerankedPair pair;
  pair.lora_A = at::zeros({lora_rank, lora_A.size(1)}, at::kDouble);
  pair.lora_B = at::zeros({lora_rank, lora_B.size(1)}, at::kDouble);
  const auto kept = std::min<int64_t>(lora_rank, std::ssize(values));
  const double whole = norm_from(values, 0);
  if (whole == 0.0) return pair;
  const double noise = rounding_noise(lora_A.scalar_type()) * values.front();
  while (pair.num_used < kept && values[static_cast<size_t>(pair.num_used)] > noise) {
    ++pair.num_used;
  }
  const double negligible = negligible_loss(lora_A.scalar_type()) * whole;
  while (norm_from(values, pair.ranks_needed) > negligible) ++pair.ranks_needed;
  pair.lost_share = norm_from(values, kept) / whole;

  const auto used = [&pair](const Tensor& of, int64_t dim) {
    return of.slice(dim, 0, pair.num_used);
  };
  const Tensor roots = used(s, 0).sqrt().unsqueeze(1);
  used(pair.lora_A, 0).copy_(used(vh, 0).mul(roots).matmul(q_A.t()));
  used(pair.lora_B, 0).copy_(used(u, 1).t().mul(roots).matmul(q_B.t()));
  return pair;
}

}  // namespace molora
