// Layouts against one process, on rank threads (support/oracle.h says what is compared): what runs
// each time. oracle_all_test.cc has the rest, every layout of up to eight ranks.
//
// Everywhere a GQA model with dropout, balance loss and z-loss on, packed rows, token counts that
// divide by nothing and, with more dp ranks than rows, ranks without any.
#include <set>

#include "multirank/oracle_cases.h"

namespace molora {
namespace {

using testing::all_layouts;
using testing::by_three;
using testing::by_two;
using testing::few_layouts;
using testing::Head;
using testing::Oracle;
using testing::OracleCase;
using testing::RunShape;
using testing::SpecialCase;

// What the comparison itself must not overlook.
Parameter slice_of_four(const std::string& name, int64_t begin) {
  return {name, at::empty({2}), {4}, {begin}, SyncGroup::kAll};
}

TEST(OracleComparison, AMissingSliceIsADifferenceWhateverComesAfterIt) {
  testing::WholeTensors whole;
  testing::WholeTensors missing;
  for (const char* name : {"a", "b"}) {
    for (const int64_t begin : {0, 2}) {
      whole.add(slice_of_four(name, begin), at::ones({2}));
      if (std::string(name) == "a" && begin == 2) continue;
      missing.add(slice_of_four(name, begin), at::ones({2}));
    }
  }
  EXPECT_EQ(testing::difference(whole, whole), 0.0);
  EXPECT_TRUE(std::isnan(testing::difference(missing, whole)));
}

TEST(OracleComparison, ReplicasThatDifferAreAFault) {
  testing::WholeTensors tensors;
  tensors.add(slice_of_four("a", 0), at::ones({2}));
  tensors.add(slice_of_four("a", 0), at::ones({2}));
  EXPECT_EQ(tensors.fault(), "");
  tensors.add(slice_of_four("a", 0), at::full({2}, 1.0 + 1e-7));
  EXPECT_EQ(tensors.fault().rfind("a: replicas differ in 2 of 2 numbers, by up to", 0), 0U);
  EXPECT_TRUE(std::isnan(testing::difference(tensors, tensors)));
}

TEST(OracleWorld1, EveryMode) { Oracle(by_two(Head::kTied)).expect(all_layouts(1, {1})); }
TEST(OracleWorld2, EveryLayout) { Oracle(by_two(Head::kUntied)).expect(all_layouts(2, {1, 2})); }
TEST(OracleWorld3, EveryLayout) { Oracle(by_three(Head::kTied)).expect(all_layouts(3, {1, 3})); }
TEST(OracleWorld4, EveryLayout) { Oracle(by_two(Head::kTied)).expect(all_layouts(4, {1, 2, 4})); }

class OracleCases : public ::testing::TestWithParam<SpecialCase> {};

TEST_P(OracleCases, FewLayouts) {
  std::vector<RunShape> shapes = testing::fewest_layouts();  // oracle_all_test has them all
  shapes.insert(shapes.end(), GetParam().more_layouts.begin(), GetParam().more_layouts.end());
  Oracle(GetParam().of).expect(shapes);
}

INSTANTIATE_TEST_SUITE_P(Special, OracleCases, ::testing::ValuesIn(testing::special_cases()),
                         [](const auto& special) { return special.param.name; });

TEST(OracleModes, AnotherForEachGroup) { Oracle(OracleCase{}).expect(testing::mixed_modes()); }

// As GPUs exchange.
TEST(OracleModes, FixedShapesOfRankExchange) {
  const Oracle oracle{OracleCase{}};
  for (const bool sp : {false, true}) {
    for (const auto& ranks_tp_ep :
         {std::tuple(2, 2, 1), std::tuple(4, 4, 1), std::tuple(4, 2, 1)}) {
      RunShape shape = testing::layout_of(ranks_tp_ep, sp, ExchangeMode::kRank);
      const auto packed = oracle.run(shape);
      shape.layout.has_fixed_shapes = true;
      EXPECT_EQ(oracle.fault(shape), "") << testing::text_of(shape);
      EXPECT_EQ(testing::compare(*oracle.run(shape), *packed, 0.0), "") << testing::text_of(shape);
    }
  }
}

// What frozen experts and the others are after three steps, weight decay included.
void expect_only_frozen_ones_kept(const testing::WholeTensors& before,
                                  const testing::WholeTensors& after) {
  const AdapterConfig adapter = testing::with_frozen_experts(AdapterConfig());
  const std::set<int64_t> frozen(adapter.frozen_experts().begin(), adapter.frozen_experts().end());
  for (const auto& [name, value] : before.tensors()) {
    const at::Tensor& now = after.tensors().at(name);
    const bool is_of_experts = name.find(".lora_") != std::string::npos && value.size(0) == 8;
    for (int64_t row = 0; row < value.size(0); ++row) {
      EXPECT_EQ(now[row].equal(value[row]), is_of_experts && frozen.contains(row))
          << name << " " << row;
    }
  }
}

TEST(OracleFrozenExperts, KeepTheirBitsWhileTheOthersMove) {
  OracleCase of;
  of.adapter = testing::with_frozen_experts(of.adapter);
  testing::TempFolder folder;
  testing::write_tiny_model(folder.path(), of.model);
  for (RunShape shape : few_layouts()) {
    SCOPED_TRACE(testing::text_of(shape));
    shape.weight_decay = 0.01;
    const auto run = [&](int64_t steps) {
      return testing::train_on_threads(folder.path(), of.adapter, shape, steps, of.rows);
    };
    expect_only_frozen_ones_kept(run(0)->parameters, run(3)->parameters);
  }
}

// The norm that gradients are clipped to is that of what is trained.
TEST(OracleFrozenExperts, DoNotCountInTheNorm) {
  OracleCase of;
  const Oracle all{of};
  of.adapter = testing::with_frozen_experts(of.adapter);
  const auto free = all.run(RunShape{});
  const auto frozen = Oracle(of).run(RunShape{});
  double squares = 0.0;
  for (const auto& [name, value] : free->first_gradients.tensors()) {
    at::Tensor counted = value.clone();
    if (name.find(".lora_") != std::string::npos && value.size(0) == 8) {
      for (const uint32_t expert : of.adapter.frozen_experts()) counted[expert].zero_();
    }
    EXPECT_TRUE(frozen->first_gradients.tensors().at(name).equal(counted)) << name;
    squares += counted.square().sum().item<double>();
  }
  EXPECT_NEAR(frozen->steps[0].grad_norm, std::sqrt(squares), 1e-12);
  EXPECT_LT(frozen->steps[0].grad_norm, free->steps[0].grad_norm);
}

// The optimizer's state whole on every rank or shared out: the same bits.
TEST(OracleModes, ShardedOptimizerHasTheSameBits) {
  const Oracle oracle{OracleCase{}};
  for (RunShape shape : few_layouts()) {
    shape.optimizer = OptimizerPlacement::kSharded;
    const auto sharded = oracle.run(shape);
    shape.optimizer = OptimizerPlacement::kReplicated;
    const auto replicated = oracle.run(shape);
    EXPECT_EQ(testing::compare(*sharded, *replicated, 0.0), "") << testing::text_of(shape);
  }
}

}  // namespace
}  // namespace molora
