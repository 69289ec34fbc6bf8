#include "report/run_log.h"

#include <cmath>

#include <gmock/gmock.h>

#include "report/run_record.h"

namespace molora {
namespace {

constexpr char kRun[] =
    R"({"type":"run","step":0,"num_steps":9,"routers":["layers.0.mlp.up_proj"],"timing":{"ranks":2}})";

RunLog log_of(const std::vector<std::string>& lines) {
  RunLog log;
  for (const std::string& line : lines) log.add_line(line);
  return log;
}

TEST(RunLog, ReadsTheLinesOfARun) {
  const RunLog log = log_of(
      {kRun,
       R"({"type":"eval","step":0,"loss":2.5,"tasks":[{"task":"a","samples":4,"loss":2.5,)"
       R"("questions":4,"correct":1,"chance":0.25}]})",
       R"({"type":"step","step":1,"loss":2.0,"tokens":100,"expert_load":[[30,10]],)"
       R"("sent_bytes":{"tp":{"all_gather":64}},"timing":{"seconds":0.5,"tokens_per_second":200}})",
       R"({"type":"step","step":2,"loss":null,"tokens":100,"skipped":true,"timing":{}})",
       R"({"type":"ranks","step":2,"timing":{"ranks":[{"host":"h","work":0.4,"peak_memory_gib":2}]}})",
       R"({"type":"routers","step":2,"tokens":9,"routers":[{"name":"x","load":[0.75,0.25],)"
       R"("entropy":0.5,"top1_share":0.75,"dead":[1]}],"tasks":{"a":[0.5,0.5]},"scripts":{"han":[0.25,0.75]}})",
       R"({"type":"alarm","step":2,"kind":"collapsed","router":"x","dead":[1,2],"action":"warn"})",
       R"({"type":"alarm","step":2,"kind":"recovered","router":"y","dead":[]})"});
  EXPECT_EQ(log.num_bad_lines(), 0);
  EXPECT_EQ(log.num_steps(), 9);
  EXPECT_EQ(log.num_ranks(), 2);
  ASSERT_EQ(log.steps().size(), 2u);
  EXPECT_EQ(log.steps()[0].loss, 2.0);
  EXPECT_EQ(log.steps()[0].largest_share, 0.75);
  EXPECT_TRUE(std::isnan(log.steps()[1].loss));
  EXPECT_TRUE(log.steps()[1].is_skipped);
  EXPECT_EQ(log.evaluations().at(0).tasks.at(0).correct, 1);
  EXPECT_EQ(log.rank_reports().at(0).ranks.at(0).peak_memory_bytes, 2147483648.0);
  EXPECT_EQ(log.router_reports().at(0).routers.at(0).num_dead, 1u);
  EXPECT_EQ(log.router_reports().at(0).tasks.at(0).name, "a");
  EXPECT_EQ(log.router_reports().at(0).scripts.at(0).name, "han");
  EXPECT_EQ(log.router_reports().at(0).scripts.at(0).load, (std::vector<double>{0.25, 0.75}));
  ASSERT_EQ(log.alarms().size(), 2u);
  EXPECT_EQ(log.alarms()[0].router, "x");
  EXPECT_EQ(log.alarms()[0].num_dead, 2u);
  EXPECT_EQ(log.alarms()[1].kind, "recovered");
  EXPECT_EQ(log.sent_bytes().at("tp").at("all_gather"), 64);
  EXPECT_EQ(log.total_tokens(), 200);
}

TEST(RunLog, WhatIsNoLineOfARunIsCountedAndPassedOver) {
  const RunLog log = log_of({kRun, "notes of mine", "[1]", R"({"type":"step"})", "",
                             R"({"type":"step","step":"1"})", R"({"type":"later","step":1})",
                             R"({"type":"step","step":1,"loss":"high","expert_load":7})"});
  EXPECT_EQ(log.num_bad_lines(), 5);
  EXPECT_EQ(log.first_bad_line(), 2);
  ASSERT_EQ(log.steps().size(), 1u);
  EXPECT_TRUE(std::isnan(log.steps()[0].loss));
}

TEST(RunLog, AStepThatIsDoneAgainReplacesWhatCameAfterIt) {
  const RunLog log =
      log_of({R"({"type":"step","step":1,"loss":1})", R"({"type":"step","step":2,"loss":2})",
              R"({"type":"step","step":2,"loss":3})"});
  ASSERT_EQ(log.steps().size(), 2u);
  EXPECT_EQ(log.steps()[1].loss, 3);
}

TEST(RunLog, AlarmsOfStepsThatAreDoneAgainAreForgotten) {
  const RunLog log = log_of({R"({"type":"step","step":1})", R"({"type":"alarm","step":1})",
                             R"({"type":"step","step":2})", R"({"type":"alarm","step":2})",
                             R"({"type":"step","step":2})"});
  ASSERT_EQ(log.alarms().size(), 1u);
  EXPECT_EQ(log.alarms()[0].step, 1);
}

TEST(RunLog, RoutersAreFoundByLayerAndLinear) {
  EXPECT_EQ(router_place("model.layers.12.mlp.gate_proj").layer, 12);
  EXPECT_EQ(router_place("model.layers.12.mlp.gate_proj").linear, "gate_proj");
  EXPECT_EQ(router_place("router").layer, -1);
  EXPECT_EQ(router_place("").linear, "");
}

TEST(RunRecord, FaultsAreReadAsProtobufWritesThem) {
  int64_t num_bad = 0;
  const std::vector<FaultNote> faults = read_faults(
      R"({"fault":"FAULT_EARLY_EXIT","exit_code":70,"sentence":"rank 1 left","rank":1,"step":"14"})"
      "\nhalf a li\n\n"
      R"({"sentence":"asked")"
      "\n"
      R"({"sentence":"stopped on request"})",
      num_bad);
  EXPECT_EQ(num_bad, 2);
  ASSERT_EQ(faults.size(), 2u);
  EXPECT_EQ(faults[0].kind, "early exit");
  EXPECT_EQ(faults[0].step, 14);
  EXPECT_EQ(faults[1].kind, "stopped");
  EXPECT_EQ(faults[1].rank, -1);
}

}  // namespace
}  // namespace molora
