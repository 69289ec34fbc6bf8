#include "export/low_rank_fit.h"

#include <algorithm>
#include <tuple>

#include <ATen/core/grad_mode.h>

#include "base/check.h"
#include "model/bottleneck.h"

namespace molora {

namespace {

// The rows of A and B of a linear in fp64, B's with scale and mean weights: their product over the
// rows, B^T A, is the matrix to be fitted.
struct Factors {
  Tensor a_Ri;  // [experts * r, in]
  Tensor b_Ro;  // [experts * r, out]
};

Factors mean_factors(const LinearAdapter& linear, const Tensor& mean_weights_RE) {
  Tensor weights_E = at::ones({linear.spec.num_experts}, at::kDouble);
  if (linear.spec.has_router()) {
    weights_E.slice(0, 0, linear.spec.num_routed())
        .copy_(
            mean_weights_RE.select(0, linear.router_index).slice(0, 0, linear.spec.num_routed()));
  }
  const Tensor b_Ero =
      linear.lora_B.detach().to(at::kDouble) * (weights_E * linear.spec.scale).view({-1, 1, 1});
  const Tensor a_Eri = each_experts_A(linear.lora_A.detach(), linear.spec, linear.spec.num_experts);
  return {a_Eri.to(at::kDouble).flatten(0, 1), b_Ero.flatten(0, 1)};
}

// The best `rank` rows for the same product.
Factors truncated(const Factors& factors, int64_t rank) {
  const auto [q_a, r_a] = at::linalg_qr(factors.a_Ri.t());  // [in, R'] [R', R]
  const auto [q_b, r_b] = at::linalg_qr(factors.b_Ro.t());
  const auto [u, s, vh] = at::linalg_svd(r_b.mm(r_a.t()), /*full_matrices=*/false);
  const int64_t kept = std::min(rank, s.size(0));
  const Tensor root_R1 = s.slice(0, 0, kept).sqrt().unsqueeze(1);
  return {root_R1 * vh.slice(0, 0, kept).mm(q_a.t()),
          root_R1 * u.slice(1, 0, kept).t().mm(q_b.t())};
}

// The first rows of a tensor of one expert, zeros behind them.
void set_rows(const Tensor& parameter_1rc, const Tensor& rows) {
  Tensor expert = parameter_1rc.select(0, 0);
  expert.zero_();
  expert.slice(0, 0, rows.size(0)).copy_(rows);
}

}  // namespace

void fit_single_loras(const AdapterSet& mixture, const Tensor& mean_weights_RE,
                      AdapterSet& single) {
  const at::NoGradGuard no_grad;
  MOLORA_CHECK_EQ(mixture.linears().size(), single.linears().size());
  for (size_t i = 0; i < mixture.linears().size(); ++i) {
    const LinearAdapter& from = mixture.linears()[i];
    const LinearAdapter& to = single.linears()[i];
    MOLORA_CHECK(from.path == to.path && to.spec.num_experts == 1 && to.spec.scale == 1.0, "{}",
                 to.path);
    const Factors whole = mean_factors(from, mean_weights_RE);
    const int64_t rank = to.spec.lora_rank;
    const Factors fitted = whole.a_Ri.size(0) <= rank ? whole : truncated(whole, rank);
    set_rows(to.lora_A, fitted.a_Ri);
    set_rows(to.lora_B, fitted.b_Ro);
  }
}

}  // namespace molora
