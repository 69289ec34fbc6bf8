#include "export/low_rank_fit.h"

#include <gtest/gtest.h>

#include "export/export_format.h"
#include "support/random_adapters.h"
#include "support/tiny_model.h"

namespace molora {
namespace {

Architecture tiny() { return parse_architecture(testing::tiny_config().dump(), "config.json", {}); }

AdapterConfig mixture_config() {
  AdapterConfig config;
  config.set_num_experts(3);
  config.set_experts_per_token(2);
  config.set_lora_rank(2);
  config.set_lora_alpha(6);
  return config;
}

// The [out, in] matrix that a linear's experts make with these weights, one product at a time.
Tensor matrix_of(const LinearAdapter& linear, const Tensor& weights_E) {
  Tensor sum = at::zeros({linear.place.size.out, linear.place.size.in}, at::kDouble);
  for (int64_t e = 0; e < linear.spec.num_experts; ++e) {
    const Tensor a = linear.lora_A.detach()[e].to(at::kDouble);
    const Tensor b = linear.lora_B.detach()[e].to(at::kDouble);
    for (int64_t r = 0; r < linear.spec.lora_rank; ++r) {
      sum += at::outer(b[r], a[r]) * (linear.spec.scale * weights_E[e].item<double>());
    }
  }
  return sum;
}

class LowRankFit : public ::testing::Test {
 protected:
  LowRankFit()
      : mixture_(tiny(), mixture_config(), 1, at::kDouble),
        weights_RE_(at::rand({6, 3}, at::kDouble)) {
    testing::randomize(mixture_, 3);
  }

  AdapterSet fitted(uint32_t rank) const {
    AdapterSet single(tiny(), single_lora_config(mixture_config(), rank), 1, at::kDouble);
    fit_single_loras(mixture_, weights_RE_, single);
    return single;
  }
  Tensor wanted(size_t linear) const {
    const LinearAdapter& of = mixture_.linears()[linear];
    return matrix_of(of, of.spec.has_router() ? weights_RE_[of.router_index] : at::ones(1));
  }

  AdapterSet mixture_;
  Tensor weights_RE_;
};

TEST_F(LowRankFit, IsExactWhenTheRankIsEnough) {
  // Three experts of rank 2; 9 is more than their rank together.
  for (const uint32_t rank : {6u, 9u}) {
    const AdapterSet single = fitted(rank);
    for (size_t i = 0; i < single.linears().size(); ++i) {
      const Tensor found = matrix_of(single.linears()[i], at::ones(1));
      EXPECT_LT((found - wanted(i)).abs().max().item<double>(), 1e-12)
          << mixture_.linears()[i].path;
    }
  }
}

TEST_F(LowRankFit, IsTheNearestMatrixOfItsRank) {
  // Eckart-Young: the error is the root of the sum of the squares of the singular values left out.
  for (const uint32_t rank : {2u, 3u, 5u}) {
    const AdapterSet single = fitted(rank);
    for (size_t i = 0; i < single.linears().size(); ++i) {
      const Tensor whole = wanted(i);
      const Tensor values = at::linalg_svdvals(whole);
      const double left_out = values.slice(0, rank).square().sum().sqrt().item<double>();
      const double error =
          (matrix_of(single.linears()[i], at::ones(1)) - whole).norm().item<double>();
      EXPECT_NEAR(error, left_out, 1e-10) << mixture_.linears()[i].path << " rank " << rank;
    }
  }
}

TEST_F(LowRankFit, MatricesSmallerThanTheExpertsRanksFit) {
  AdapterConfig config = mixture_config();
  config.set_lora_rank(16);  // 48 rows in all, of linears that are 8 to 24 wide
  AdapterSet mixture(tiny(), config, 1, at::kDouble);
  testing::randomize(mixture, 4);
  AdapterSet single(tiny(), single_lora_config(config, 24), 1, at::kDouble);
  fit_single_loras(mixture, weights_RE_, single);
  for (size_t i = 0; i < single.linears().size(); ++i) {
    const LinearAdapter& of = mixture.linears()[i];
    const Tensor whole =
        matrix_of(of, of.spec.has_router() ? weights_RE_[of.router_index] : at::ones(1));
    EXPECT_LT((matrix_of(single.linears()[i], at::ones(1)) - whole).abs().max().item<double>(),
              1e-10);
  }
}

}  // namespace
}  // namespace molora
