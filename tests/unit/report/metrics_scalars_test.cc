#include "report/metrics_scalars.h"

#include <limits>
#include <map>

#include <gmock/gmock.h>
#include <nlohmann/json.hpp>

namespace molora {
namespace {

using ::testing::ElementsAre;
using ::testing::IsEmpty;
using ::testing::Pair;

std::map<std::string, double> scalars(const std::string& line) {
  std::map<std::string, double> by_tag;
  for (const Scalar& scalar : metrics_scalars(nlohmann::json::parse(line))) {
    by_tag[scalar.tag] = scalar.value;
  }
  return by_tag;
}

TEST(MetricsScalars, EveryNumberOfALineHasATag) {
  EXPECT_THAT(scalars(R"({"type":"step","step":3,"loss":1.5,"skipped":false,)"
                      R"("expert_load":[[3,1],[0,0]],"sent_bytes":{"dp":{"all_to_all":8}},)"
                      R"("timing":{"seconds":2}})"),
              ElementsAre(Pair("communication/dp/all_to_all", 8),
                          Pair("experts/largest_share", 0.75), Pair("experts/smallest_share", 0.25),
                          Pair("speed/seconds", 2), Pair("train/loss", 1.5)));
  EXPECT_THAT(scalars(R"({"type":"eval","step":3,"loss":2,"tasks":[{"task":"a b/c","loss":1}]})"),
              ElementsAre(Pair("eval/a_b_c/loss", 1), Pair("eval/loss", 2)));
  EXPECT_THAT(scalars(R"({"type":"ranks","step":3,"timing":{"ranks":[{"host":"h","work":1}]}})"),
              ElementsAre(Pair("ranks/0/work", 1)));
  EXPECT_THAT(scalars(R"({"type":"routers","step":3,"routers":[{"name":"r","layer":0,)"
                      R"("entropy":0.5,"dead":[2,3]}]})"),
              ElementsAre(Pair("routers/r/dead_experts", 2), Pair("routers/r/entropy", 0.5)));
}

TEST(MetricsScalars, WhatIsNoFiniteNumberGivesNothing) {
  EXPECT_THAT(scalars(R"({"type":"step","step":3,"loss":null})"), IsEmpty());
  const nlohmann::json live = {
      {"type", "step"}, {"step", 3}, {"loss", std::numeric_limits<double>::quiet_NaN()}};
  EXPECT_THAT(metrics_scalars(live), IsEmpty());
  EXPECT_THAT(scalars(R"([1,2])"), IsEmpty());
  EXPECT_THAT(
      scalars(R"({"type":"step","step":1,"timing":[3],"expert_load":"x","sent_bytes":[1]})"),
      IsEmpty());
}

}  // namespace
}  // namespace molora
