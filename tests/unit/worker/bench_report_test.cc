#include "worker/bench_report.h"

#include <sstream>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "support/plan_shapes.h"

namespace molora {
namespace {

using ::testing::HasSubstr;
using ::testing::Not;

BenchCase small_case() {
  BenchCase of;
  of.model = "models/small";
  of.precision = "fp32";
  of.adapters = {"4 experts, 2 per token, lora_rank 2: gate_proj, up_proj, down_proj"};
  of.input = testing::hand_input(mesh_shape(1, 1, 1));
  of.step_tokens = 20;
  of.step_supervised = 6;
  of.step_seconds = {2.0, 1.0, 3.0};
  of.recorded_seconds = {2.1};
  of.ranks = {{2.0, 0.0, 100e3}};
  of.useful = {.base_forward = 50e3, .base_gradient = 40e3, .head = 10e3};
  of.products = {{{.rows = 20, .in = 8, .out = 12, .count = 2}, 0.5}};
  of.breakdown.seconds = 2.0;
  of.breakdown.by_class.at(static_cast<size_t>(WorkClass::kBaseForward)) = 1.5;
  of.breakdown.by_class.at(static_cast<size_t>(WorkClass::kRouting)) = 0.4;
  of.breakdown.by_class.at(static_cast<size_t>(WorkClass::kBetween)) = 0.1;
  of.breakdown.operators["aten::mm"] = {1.5, 14, WorkClass::kBaseForward};
  of.memory.base = 1 << 20;
  return of;
}

BenchCase two_ranks() {
  BenchCase of = small_case();
  of.mesh = mesh_shape(2, 2, 1);
  of.ranks = {{2.0, 0.5, 100e3}, {2.0, 0.1, 50e3}};
  of.breakdown.by_class.at(static_cast<size_t>(WorkClass::kCollective)) = 0.2;
  of.axis_seconds.at(static_cast<size_t>(Axis::kTensor)) = 0.2;
  of.traffic.counts[static_cast<size_t>(Axis::kTensor)][2] = {3, 4096};
  return of;
}

TEST(BenchReport, UsefulShareIsThatOfTheRateOfTheProducts) {
  const BenchCase of = small_case();
  // 100 kFLOP in 2 s, of products that run at 100 kFLOP/s.
  EXPECT_DOUBLE_EQ(of.useful_share(), 0.5);
  EXPECT_DOUBLE_EQ(of.tokens_per_second(), 10);
  EXPECT_NEAR(of.observer_share(), 0.05, 1e-12);
  EXPECT_DOUBLE_EQ(two_ranks().product_rate(), 75e3);
}

TEST(BenchReport, SaysWhereAStepGoesAndWhatIsLeft) {
  const std::string text = bench_text({.first = small_case()});
  EXPECT_THAT(text, HasSubstr("base, forward                       1.50 s     75.0 %"));
  EXPECT_THAT(text, HasSubstr("sum of what has a name              1.90 s     95.0 %"));
  EXPECT_THAT(text, HasSubstr("rest: between operators             100 ms      5.0 %"));
  EXPECT_THAT(text, HasSubstr("useful share                        50.0 %"));
  EXPECT_THAT(text, HasSubstr("[20, 8] x [8, 12]"));
  EXPECT_THAT(text, Not(HasSubstr("\n  attention   ")));
  EXPECT_THAT(text, Not(HasSubstr("sent in a step")));
}

TEST(BenchReport, OfRanksNamesTheSlowestAndTheAxes) {
  const std::string text = bench_text({.first = two_ranks()});
  EXPECT_THAT(text, HasSubstr("slowest rank 1: 1.90 s, fastest rank 0: 1.50 s"));
  EXPECT_THAT(text, HasSubstr("tp, waiting with it"));
  EXPECT_THAT(text, HasSubstr("4.00 KiB  3 calls"));
}

TEST(BenchReport, OfTwoHasTheirRatio) {
  const BenchReport report{
      .first = small_case(), .second = small_case(), .ratio = {1.25, 1.2, 1.3}};
  EXPECT_THAT(bench_text(report), HasSubstr("B takes 1.250 x the time of A (1.200 .. 1.300"));
  const nlohmann::json json = bench_json(report);
  EXPECT_EQ(json["ratio"]["second_over_first"], 1.25);
  EXPECT_EQ(json["second"]["step_tokens"], 20);
}

TEST(BenchReport, SaysThatWeightsAreRandom) {
  BenchCase of = small_case();
  EXPECT_THAT(bench_text({.first = of}), Not(HasSubstr("random weights")));
  of.has_random_weights = true;
  EXPECT_THAT(bench_text({.first = of}), HasSubstr("models/small, fp32, random weights"));
}

TEST(BenchReport, HasNoLongLines) {
  for (const BenchReport& report :
       {BenchReport{.first = small_case()},
        BenchReport{.first = two_ranks(), .second = two_ranks(), .ratio = {10.25, 10.12, 10.38}}}) {
    std::istringstream lines(bench_text(report));
    for (std::string line; std::getline(lines, line);) EXPECT_LE(line.size(), 100U) << line;
  }
}

TEST(BenchReport, HasTheSameNumbersInJson) {
  const nlohmann::json json = bench_json({.first = two_ranks()});
  const nlohmann::json& of = json["first"];
  EXPECT_EQ(of["step_seconds"]["median"], 2.0);
  EXPECT_EQ(of["breakdown"]["seconds"]["base_forward"], 1.5);
  EXPECT_EQ(of["breakdown"]["collective_seconds"]["tp"], 0.2);
  EXPECT_EQ(of["traffic_bytes"]["tp"]["all_gather"], 4096);
  EXPECT_EQ(of["useful_flops"]["base_and_head"], 100e3);
  EXPECT_EQ(of["memory_bytes"]["base"], 1 << 20);
  EXPECT_FALSE(json.contains("ratio"));
}

}  // namespace
}  // namespace molora
