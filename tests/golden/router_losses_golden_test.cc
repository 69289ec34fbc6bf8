// Losses of routers and their gradients against plain PyTorch (router_losses_golden.py beside this
// file wrote the numbers): Switch, MoLA, MixLoRA, AdaMoLE, LoRAMoE, entropy, z.
#include <algorithm>

#include <gtest/gtest.h>
#include <nlohmann/json.hpp>

#include "io/file.h"
#include "model/router.h"
#include "model/router_losses.h"
#include "support/tiny_model.h"

namespace molora {
namespace {

using nlohmann::json;

constexpr double kTolerance = 1e-12;

const json& golden() {
  static const json all = json::parse(read_file("tests/golden/router_losses_golden.json"));
  return all;
}

Tensor tensor_of(const json& nested) {
  const int64_t width = std::ssize(nested.at(0));
  std::vector<double> numbers;
  for (const json& row : nested) {
    for (const json& number : row) numbers.push_back(number.get<double>());
  }
  return at::tensor(numbers, at::kDouble).view({-1, width});
}

RouterConfig router_config(const std::string& name) {
  RouterConfig router;
  if (name == "adamole_sum") {
    router.set_gate(RouterConfig::threshold);
    router.set_threshold_max(golden().at("threshold_max").get<double>());
  } else if (name == "top_p_concat") {
    router.set_gate(RouterConfig::top_p);
    router.set_top_p_mass(golden().at("top_p").get<double>());
  }
  if (name.ends_with("_sum")) router.set_loss_across_routers(RouterConfig::sum);
  if (name.ends_with("_concat")) router.set_loss_across_routers(RouterConfig::concat);
  return router;
}

// One layer with three routers, whose logits are given.
class GivenRouters {
 public:
  GivenRouters(const RouterConfig& router, const json& of)
      : router_(router), adapters_(architecture(), config(router), 1, at::kDouble) {
    for (const json& logits : of.at("logits")) logits_.push_back(tensor_of(logits));
    int64_t sample = 0;
    std::vector<int64_t> samples;
    for (const json& length : golden().at("lengths")) {
      samples.insert(samples.end(), length.get<size_t>(), 100 + 7 * sample);
      numbers_.push_back(100 + 7 * sample++);
    }
    ids_.samples_T = at::tensor(samples, at::kLong);
    for (const LinearAdapter& linear : adapters_.linears()) {
      if (!linear.spec.has_router()) continue;
      linear.router_bias.detach().zero_();
      routers_.push_back(&linear);
    }
    statistics_ = empty_router_statistics(adapters_);
    const int64_t experts = statistics_.counts_RE.size(1);
    statistics_.entropy_sum_R = at::zeros_like(statistics_.z_sum_R);
    statistics_.sample_numbers_S = at::tensor(numbers_, at::kLong);
    statistics_.importance_RSE =
        at::zeros({std::ssize(routers_), std::ssize(numbers_), experts}, at::kDouble);
  }

  // The forward pass that finds the statistics. Returns what each token chose.
  std::vector<Tensor> choose() {
    const at::NoGradGuard no_grad;
    std::vector<Tensor> chosen;
    for (size_t r = 0; r < routers_.size(); ++r) {
      const Routing routing =
          route_product(logits_[r], *routers_[r],
                        {.choices = &choices_, .statistics = &statistics_, .ids = ids_});
      chosen.push_back(routing.chosen_TE());
    }
    return chosen;
  }

  // What the losses send into the logits.
  std::vector<Tensor> gradients(const AuxiliaryGradient& auxiliary) {
    std::vector<Tensor> all;
    for (size_t r = 0; r < routers_.size(); ++r) {
      const Tensor logits = logits_[r].clone().set_requires_grad(true);
      const Routing routing = route_product(
          logits, *routers_[r], {.choices = &choices_, .auxiliary = &auxiliary, .ids = ids_});
      (routing.weights_TE * 0.0).sum().backward();
      all.push_back(logits.grad());
    }
    return all;
  }

  // Of a loss that is a mean over tokens and, unless it is summed, routers.
  double scale() const {
    const bool is_sum = router_.loss_across_routers() == RouterConfig::sum;
    return 1.0 / static_cast<double>(logits_.front().size(0) * (is_sum ? 1 : std::ssize(routers_)));
  }
  const RouterStatistics& statistics() const { return statistics_; }
  const AdapterSet& adapters() const { return adapters_; }
  RouterConfig::AcrossRouters rule() const { return router_.loss_across_routers(); }

 private:
  static Architecture architecture() {
    json model = testing::tiny_config();
    model["num_hidden_layers"] = 1;
    return parse_architecture(model.dump(), "config.json", {});
  }
  static AdapterConfig config(const RouterConfig& router) {
    AdapterConfig adapter;
    adapter.set_num_experts(golden().at("experts").get<uint32_t>());
    adapter.set_experts_per_token(golden().at("k").get<uint32_t>());
    *adapter.mutable_router() = router;
    return adapter;
  }

  RouterConfig router_;
  AdapterSet adapters_;
  std::vector<Tensor> logits_;
  std::vector<int64_t> numbers_;
  TokenIds ids_;
  std::vector<const LinearAdapter*> routers_;
  RoutingChoices choices_;
  RouterStatistics statistics_;
};

class RouterLossesGolden : public ::testing::TestWithParam<std::string> {};

TEST_P(RouterLossesGolden, ValueAndGradientAreThoseOfPyTorch) {
  const std::string& name = GetParam();
  const json& of = golden().at("cases").at(name);
  GivenRouters given(router_config(name), of);
  const std::vector<Tensor> chosen = given.choose();
  for (size_t r = 0; r < chosen.size(); ++r) {
    EXPECT_TRUE(chosen[r].equal(tensor_of(of.at("chosen").at(r)) != 0.0)) << "router " << r;
  }

  // MixLoRA's shares sum to k, ours to 1.
  const double factor = name == "mixlora_concat" ? golden().at("k").get<double>() : 1.0;
  const AuxiliaryLosses losses =
      auxiliary_losses(given.statistics(), given.adapters(), given.rule());
  AuxiliaryGradient auxiliary{.scale = factor * given.scale(), .share_RE = {}};
  double value = losses.balance;
  if (name == "loramoe_sum") {
    std::vector<int64_t> prefers = golden().at("prefers_first").get<std::vector<int64_t>>();
    const LocalizedLoss localized = localized_loss(
        given.statistics().importance_RSE, at::tensor(prefers, at::kLong).to(at::kBool),
        golden().at("delta").get<double>(), given.adapters(), given.rule());
    value = localized.value.item<double>();
    auxiliary.slope_RSE = localized.slope_RSE;
    auxiliary.sample_numbers_S = given.statistics().sample_numbers_S;
  } else if (name == "entropy_mean") {
    value = losses.entropy;
    auxiliary.entropy_coef = 1.0;
  } else if (name == "z_sum") {
    value = losses.z;
    auxiliary.z_coef = 1.0;
  } else {
    auxiliary.balance_coef = 1.0;
    auxiliary.share_RE = expert_shares(given.statistics().counts_RE, given.statistics().num_tokens,
                                       given.adapters(), given.rule());
  }
  // LoRAMoE adds 1e-10 to the square of the mean, which is 0.3 here.
  EXPECT_NEAR(factor * value, of.at("loss").get<double>(),
              name == "loramoe_sum" ? 1e-9 : kTolerance);
  const std::vector<Tensor> gradients = given.gradients(auxiliary);
  for (size_t r = 0; r < gradients.size(); ++r) {
    const Tensor expected = tensor_of(of.at("gradient").at(r));
    EXPECT_LE((gradients[r] - expected).abs().max().item<double>(),
              name == "loramoe_sum" ? 1e-9 : kTolerance)
        << "router " << r;
    EXPECT_GT(expected.abs().max().item<double>(), 1e-4);
  }
}

INSTANTIATE_TEST_SUITE_P(Cases, RouterLossesGolden,
                         ::testing::Values("switch_mean", "mola_sum", "mixlora_concat",
                                           "adamole_sum", "top_p_concat", "loramoe_sum",
                                           "entropy_mean", "z_sum"),
                         [](const auto& of) { return of.param; });

}  // namespace
}  // namespace molora
