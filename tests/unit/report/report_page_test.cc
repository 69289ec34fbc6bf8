#include "report/report_page.h"

#include <fmt/format.h>
#include <gmock/gmock.h>

#include "report/heat_map.h"

namespace molora {
namespace {

using ::testing::HasSubstr;
using ::testing::Not;

const PageStamp kStamp{"2026-01-31T09:30:00Z", "molora"};

RunRecord run_of(int num_steps) {
  RunRecord run;
  run.name = "my-run";
  run.state = RunState::kDone;
  run.log.add_line(fmt::format(
      R"({{"type":"run","step":0,"num_steps":{},"routers":["layers.0.mlp.up_proj"]}})", num_steps));
  for (int step = 1; step <= num_steps; ++step) {
    run.log.add_line(fmt::format(
        R"({{"type":"step","step":{},"loss":{},"tokens":5,"expert_load":[[4,0]],"timing":{{"seconds":1}}}})",
        step, 1.0 + 1.0 / step));
  }
  return run;
}

TEST(ReportPage, TextOfFilesIsNeverMarkup) {
  RunRecord run = run_of(3);
  const std::string evil = "<img src=x onerror=alert(1)>\"'&";
  run.name = run.folder = evil;
  run.problems = {evil};
  run.summary = run.settings = run.changes = {{evil, evil}};
  run.faults = run.reason = {{.kind = evil, .sentence = evil, .time = evil, .host = evil}};
  run.checkpoints = {{.name = evil, .time = evil}};
  run.log.add_line(
      R"({"type":"eval","step":1,"loss":1,"tasks":[{"task":"<img src=x>","loss":1,"questions":2}]})");
  run.log.add_line(R"({"type":"routers","step":1,"routers":[],"tasks":{"<img src=x>":[0.5,0.5]},)"
                   R"("scripts":{"<img src=x>":[0.5,0.5],"han":[0.5,0.5]}})");
  run.log.add_line(R"({"type":"step","step":4,"sent_bytes":{"<img src=x>":{"<img src=x>":3}}})");
  run.log.add_line(R"({"type":"alarm","step":4,"router":"<img src=x>","action":"<img src=x>"})");
  for (const RunState state : {RunState::kEnded, RunState::kEmpty}) {
    run.state = state;
    EXPECT_THAT(report_page({run}, kStamp), Not(HasSubstr("<img")));
    EXPECT_THAT(report_page({run, run}, kStamp), Not(HasSubstr("<img")));
  }
}

TEST(ReportPage, RouterAlarmsAreMarkedByStep) {
  RunRecord run = run_of(9);
  EXPECT_THAT(report_page({run}, kStamp), Not(HasSubstr("Router alarms")));
  for (
      const char* line :
      {R"({"type":"alarm","step":4,"kind":"collapsed","router":"r0","dead":[1,2],"action":"bias"})",
       R"({"type":"alarm","step":4,"kind":"collapsed","router":"r1","dead":[3],"action":"bias"})",
       R"({"type":"alarm","step":8,"kind":"recovered","router":"r0","dead":[]})"}) {
    run.log.add_line(line);
  }
  const std::string page = report_page({run}, kStamp);
  EXPECT_THAT(page, HasSubstr("Router alarms"));
  EXPECT_THAT(page, HasSubstr("step 4: r0 has collapsed, 2 dead experts; action bias; r1 has "
                              "collapsed, 1 dead experts; action bias"));
  EXPECT_THAT(page, HasSubstr("step 8: r0 has recovered"));
}

TEST(ReportPage, ScriptsAreDrawnWhereThereAreSeveral) {
  RunRecord run = run_of(3);
  run.log.add_line(R"({"type":"routers","step":2,"routers":[],"scripts":{"latin":[0.5,0.5]}})");
  EXPECT_THAT(report_page({run}, kStamp), Not(HasSubstr("Script by expert")));
  run.log.add_line(
      R"({"type":"routers","step":3,"routers":[],"scripts":{"han":[0.25,0.75],"latin":[0.5,0.5]}})");
  const std::string page = report_page({run}, kStamp);
  EXPECT_THAT(page, HasSubstr("Script by expert, step 3"));
  EXPECT_THAT(page, HasSubstr("Per cent of a script"));
}

TEST(ReportPage, ALongRunStaysSmallAndSaysWhatWasPutTogether) {
  const std::string page = report_page({run_of(50000)}, kStamp);
  EXPECT_LT(page.size(), 600000u);
  EXPECT_THAT(page, HasSubstr("lowest to the highest of every 125 steps"));
  EXPECT_THAT(report_page({run_of(20)}, kStamp), Not(HasSubstr("Band:")));
}

TEST(ReportPage, NumbersBeyondAllBoundsAreDrawn) {
  RunRecord run;
  run.name = "odd";
  for (
      const char* line :
      {R"({"type":"run","step":0,"num_steps":-5,"routers":[null,7]})",
       R"({"type":"step","step":9223372036854775806,"loss":-1e308,"grad_norm":1e-310,"tokens":1e300,)"
       R"("expert_load":[[-1,1],[],"x"],"timing":{"seconds":-1}})",
       R"({"type":"step","step":9223372036854775807,"loss":1e308,"expert_load":[[-1,1],[],"x"]})",
       R"({"type":"eval","step":3,"loss":-1,"tasks":[{"questions":3,"correct":50,"loss":-1}]})",
       R"({"type":"ranks","step":3,"timing":{"ranks":[{},{"work":-1}]}})",
       R"({"type":"routers","step":3,"routers":[{}],"tasks":{"a":[],"b":[1e308,0]}})"}) {
    run.log.add_line(line);
  }
  EXPECT_THAT(report_page({run}, kStamp), HasSubstr("</html>"));
}

TEST(ReportPage, AnEmptyRunHasAPage) {
  RunRecord run;
  run.name = "nothing";
  EXPECT_THAT(report_page({run}, kStamp), HasSubstr("This run has no step yet."));
}

TEST(ReportPage, TenRunsAreToldApart) {
  std::vector<RunRecord> runs(10, run_of(3));
  for (size_t i = 0; i < runs.size(); ++i) runs[i].name = fmt::format("run-{}", i);
  const std::string page = report_page(runs, kStamp);
  EXPECT_THAT(page, HasSubstr("run-9"));
  EXPECT_THAT(page, HasSubstr("line s3 again"));
}

TEST(HeatMap, ClassesAreEvenOnBothSides) {
  EXPECT_EQ(heat_class(0), 0);
  EXPECT_EQ(heat_class(1), 4);
  for (const double ratio : {1.01, 1.1, 1.5, 3.0, 10.0}) {
    EXPECT_EQ(heat_class(ratio) + heat_class(1 / ratio), 8) << ratio;
  }
}

TEST(HeatMap, AnExpertThatWasNeverChosenIsCrossedOut) {
  HeatMap map{.id = "m",
              .row_labels = {"0"},
              .column_labels = {"0", "1"},
              .shares = {{1.0, 0.0}},
              .even_share = 0.5};
  EXPECT_THAT(heat_map_html(map), HasSubstr("class=\"dead\""));
  map.shares = {{0.5, 0.5}};
  EXPECT_THAT(heat_map_html(map), Not(HasSubstr("class=\"dead\"")));
}

}  // namespace
}  // namespace molora
