// Expert surgery on the real model (support/surgery_oracle.h says what is compared).
#include <cmath>

#include "multirank/oracle_cases.h"
#include "support/surgery_oracle.h"

namespace molora {
namespace {

using testing::layout_of;
using testing::oracle_adapter;
using testing::RunShape;
using testing::SurgeryCase;
using testing::SurgeryOracle;

RunConfig config_of(RouterConfig::Gate gate, uint32_t num_experts) {
  RunConfig config;
  *config.mutable_adapter() = oracle_adapter(num_experts, 2);
  config.mutable_adapter()->mutable_router()->set_gate(gate);
  return config;
}

// As experts are that were added and that nobody has taken.
std::function<void(AdapterSet&)> with_unused(const std::vector<int64_t>& experts) {
  return [experts](AdapterSet& adapters) {
    const at::NoGradGuard no_grad;
    for (const LinearAdapter& linear : adapters.linears()) {
      if (!linear.spec.has_router()) continue;
      for (const int64_t expert : experts) {
        linear.router_bias.detach()[expert] = -30.0;
        linear.router_weight.detach()[expert].zero_();
      }
    }
  };
}

// Every pair uses two of its ranks.
void use_two_ranks(AdapterSet& adapters) {
  const at::NoGradGuard no_grad;
  for (const LinearAdapter& linear : adapters.linears()) {
    at::Tensor lora_A = linear.lora_A.detach();
    for (int64_t row = 2; row < lora_A.size(1); ++row) {
      lora_A.select(1, row).copy_(lora_A.select(1, row - 2) * 0.5);
    }
  }
}

SurgeryCase add_experts(RouterConfig::Gate gate) {
  return {"AddExperts", config_of(gate, 4), config_of(gate, 6)};
}

SurgeryCase drop_unused_experts(RouterConfig::Gate gate) {
  SurgeryCase of{"DropUnusedExperts", config_of(gate, 6), config_of(gate, 4), with_unused({1, 4})};
  for (const uint32_t expert : {1u, 4u}) {
    of.wanted.mutable_checkpoint()->mutable_surgery()->add_drop_experts(expert);
  }
  return of;
}

SurgeryCase more_ranks(RouterConfig::Gate gate) {
  SurgeryCase of{"MoreRanks", config_of(gate, 4), config_of(gate, 4)};
  of.wanted.mutable_adapter()->set_lora_rank(5);
  return of;
}

SurgeryCase fewer_ranks(RouterConfig::Gate gate) {
  SurgeryCase of{"FewerRanks", config_of(gate, 4), config_of(gate, 4), use_two_ranks};
  of.stored.mutable_adapter()->set_lora_rank(5);
  return of;
}

SurgeryCase another_scale(RouterConfig::Gate gate) {
  SurgeryCase of{"AnotherScale", config_of(gate, 4), config_of(gate, 4)};
  of.wanted.mutable_adapter()->set_lora_alpha(11);
  of.wanted.mutable_adapter()->set_rslora(true);
  return of;
}

SurgeryCase all_at_once(RouterConfig::Gate gate) {
  SurgeryCase of = fewer_ranks(gate);
  of.name = "AllAtOnce";
  of.wanted.mutable_adapter()->set_num_experts(6);
  of.wanted.mutable_adapter()->set_lora_alpha(1);
  of.wanted.mutable_adapter()->add_frozen_experts(1);
  of.wanted.mutable_adapter()->add_frozen_experts(5);
  of.wanted.mutable_checkpoint()->mutable_surgery()->add_drop_experts(2);
  of.prepare = [](AdapterSet& adapters) {
    use_two_ranks(adapters);
    with_unused({2})(adapters);
  };
  return of;
}

SurgeryCase one_expert_left(RouterConfig::Gate gate) {
  SurgeryCase of{"OneExpertLeft", config_of(gate, 2), config_of(gate, 1), with_unused({0})};
  for (RunConfig* config : {&of.stored, &of.wanted}) {
    config->mutable_adapter()->set_experts_per_token(1);
  }
  of.wanted.mutable_checkpoint()->mutable_surgery()->add_drop_experts(0);
  return of;
}

using MakeCase = SurgeryCase (*)(RouterConfig::Gate);
constexpr std::array<MakeCase, 7> kCases = {add_experts,    drop_unused_experts, more_ranks,
                                            fewer_ranks,    another_scale,       all_at_once,
                                            one_expert_left};
constexpr std::array<RouterConfig::Gate, 3> kGates = {
    RouterConfig::topk_softmax, RouterConfig::softmax_topk, RouterConfig::dense_softmax};

std::vector<SurgeryCase> cases_of(RouterConfig::Gate gate) {
  std::vector<SurgeryCase> cases;
  for (const MakeCase make : kCases) cases.push_back(make(gate));
  return cases;
}

std::vector<RunShape> layouts() {
  std::vector<RunShape> shapes;
  for (const ExchangeMode mode : kExchangeModes) {
    shapes.push_back(layout_of({2, 1, 2}, false, mode));
    shapes.push_back(layout_of({2, 2, 2}, true, mode));
    shapes.push_back(layout_of({4, 2, 2}, false, mode));
  }
  return shapes;
}

class SurgeryGates : public ::testing::TestWithParam<RouterConfig::Gate> {};

TEST_P(SurgeryGates, TheFirstForwardPassStays) {
  for (const SurgeryCase& of : cases_of(GetParam())) {
    EXPECT_LE(SurgeryOracle(of, at::kDouble).forward_difference(), 1e-10) << of.name;
    EXPECT_LE(SurgeryOracle(of, at::kFloat).forward_difference(), 1e-6) << of.name;
  }
}

INSTANTIATE_TEST_SUITE_P(Gates, SurgeryGates, ::testing::ValuesIn(kGates),
                         [](const auto& gate) { return RouterConfig::Gate_Name(gate.param); });

class SurgeryLayouts : public ::testing::TestWithParam<size_t> {};

// Each case on every layout, with another gate from case to case.
TEST_P(SurgeryLayouts, EqualOneRankFromTheFirstForwardPassOn) {
  const SurgeryCase of = kCases[GetParam()](kGates[GetParam() % kGates.size()]);
  SurgeryOracle(of, at::kDouble).expect(layouts());
}

INSTANTIATE_TEST_SUITE_P(Cases, SurgeryLayouts, ::testing::Range<size_t>(0, kCases.size()),
                         [](const auto& index) {
                           return kCases[index.param](RouterConfig::topk_softmax).name;
                         });

// The comparison sees what is not the same function.
TEST(SurgeryComparison, AChangeThatIsAllowedShows) {
  SurgeryCase fewer = fewer_ranks(RouterConfig::topk_softmax);
  fewer.prepare = [](AdapterSet&) {};
  fewer.wanted.mutable_checkpoint()->mutable_surgery()->set_may_change_forward(true);
  EXPECT_GT(SurgeryOracle(fewer, at::kDouble).forward_difference(), 1e-4);
  SurgeryCase tempting = add_experts(RouterConfig::topk_softmax);
  SurgeryConfig& surgery = *tempting.wanted.mutable_checkpoint()->mutable_surgery();
  surgery.set_may_change_forward(true);
  surgery.set_added_expert_bias(1.0);
  EXPECT_GT(SurgeryOracle(tempting, at::kDouble).forward_difference(), 1e-4);
}

}  // namespace
}  // namespace molora
