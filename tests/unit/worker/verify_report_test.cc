#include "worker/verify_report.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "comm/thread_communicator.h"
#include "support/stored_checkpoint.h"
#include "support/temp_folder.h"
#include "worker/commands.h"

namespace molora {
namespace {

using ::testing::AllOf;
using ::testing::ElementsAre;
using ::testing::EndsWith;
using ::testing::HasSubstr;
using ::testing::Not;
using testing::TempFolder;
using testing::two_rank_checkpoint;

VerifyReport report(const std::filesystem::path& path) {
  VerifyReport report{list_checkpoints(local_files(), path), {}};
  for (const auto& folder : report.listing.steps) {
    report.steps.push_back(verify_step(local_files(), folder));
  }
  return report;
}

// A run with three checkpoints.
class SavedRun {
 public:
  SavedRun() {
    for (const int64_t step : {10, 20, 30}) two_rank_checkpoint(step).write(root());
  }
  std::filesystem::path root() const { return temp_ / "checkpoints"; }
  const std::filesystem::path& path() const { return temp_.path(); }
  std::filesystem::path operator/(const std::string& name) const { return root() / name; }
  void damage(const std::string& step) const {
    std::filesystem::resize_file(root() / step / "adapter-00000.safetensors", 700);
  }

 private:
  TempFolder temp_;
};

TEST(VerifyReport, AWholeCheckpointIsOneLine) {
  const SavedRun run;
  const VerifyReport found = report(run / "step-00000020");
  EXPECT_TRUE(found.are_whole());
  const std::string text = verified_step_text(found.steps.at(0));
  EXPECT_THAT(text, AllOf(HasSubstr("step-00000020: whole: step 20, 4 files, 15 tensors, "),
                          HasSubstr(" KiB in "), EndsWith(" MB/s\n")));
  EXPECT_EQ(closing_text(found), "");
}

TEST(VerifyReport, ARunTellsWhereItWouldGoOn) {
  const SavedRun run;
  run.damage("step-00000030");
  const VerifyReport found = report(run.path());
  ASSERT_EQ(found.steps.size(), 3u);
  EXPECT_FALSE(found.are_whole());
  EXPECT_EQ(found.step_to_resume(), 20);
  const std::string text = verified_step_text(found.steps[0]);
  EXPECT_THAT(text, AllOf(HasSubstr("step-00000030: DAMAGED: "),
                          HasSubstr("\n  adapter-00000.safetensors: bytes 700 to "),
                          HasSubstr(": tensor adapter/layers.0.mlp.up_proj.lora_B: bytes ")));
  EXPECT_EQ(closing_text(found),
            "2 of 3 checkpoints whole; checkpoint.resume: auto goes on from step 20\n");
}

TEST(VerifyReport, ARunWithoutAWholeCheckpointSaysSo) {
  const SavedRun run;
  for (const char* step : {"step-00000010", "step-00000020", "step-00000030"}) run.damage(step);
  const VerifyReport found = report(run.path());
  EXPECT_EQ(found.step_to_resume(), std::nullopt);
  EXPECT_EQ(closing_text(found),
            "0 of 3 checkpoints whole; checkpoint.resume: auto finds none and stops the run\n");
}

TEST(VerifyReport, WhatElseLiesThereIsTold) {
  const SavedRun run;
  std::filesystem::create_directory(run / "step-00000040.tmp-7-1");
  std::filesystem::rename(run / "step-00000010", run / "step-00000010.damaged");
  testing::write_bytes(run / "latest", "step-00000020\n");
  testing::write_bytes(run / "step-00000020/mine.txt", "x");
  const VerifyReport found = report(run.path());
  EXPECT_TRUE(found.are_whole());
  EXPECT_THAT(verified_step_text(found.steps.at(1)),
              HasSubstr("\n  note: mine.txt: is not named by the manifest\n"));
  EXPECT_THAT(closing_text(found),
              AllOf(HasSubstr("step-00000010.damaged: damaged, put aside by a resume"),
                    HasSubstr("step-00000040.tmp-7-1: not committed"),
                    HasSubstr("`latest` says step-00000020, the newest is step-00000030")));
}

TEST(VerifyReport, ARunThatCommittedNothingIsNotWhole) {
  const TempFolder folder;
  std::filesystem::create_directories(folder / "checkpoints/step-00000040.tmp-7-1");
  const VerifyReport found = report(folder.path());
  EXPECT_FALSE(found.are_whole());
  EXPECT_THAT(closing_text(found), HasSubstr("no checkpoint is committed"));
}

TEST(VerifyReport, ManyDamagesAreCutInTheTextAndWholeInJson) {
  VerifiedStep step{"step-00000001", {}};
  for (uint64_t i = 0; i < 50; ++i) step.found.damages.push_back({"f", "t", i, i + 1, "is bad"});
  EXPECT_THAT(
      verified_step_text(step),
      AllOf(HasSubstr("DAMAGED: 50 damages\n"), HasSubstr("t: bytes 19 to 20: is bad\n"),
            Not(HasSubstr("bytes 20 to 21")), HasSubstr("... and 30 more (--json FILE has all)")));
  const VerifyReport all{{}, {step}};
  const nlohmann::json json = verify_json(all);
  EXPECT_EQ(json["steps"][0]["damages"].size(), 50u);
  EXPECT_EQ(json["steps"][0]["damages"][49]["bytes"], (nlohmann::json{49, 50}));
  EXPECT_EQ(json["steps"][0]["damages"][49]["tensor"], "t");
}

TEST(VerifyReport, JsonSaysTheSame) {
  const SavedRun run;
  run.damage("step-00000030");
  const nlohmann::json json = verify_json(report(run.path()));
  EXPECT_EQ(json["are_whole"], false);
  EXPECT_EQ(json["step_to_resume"], 20);
  EXPECT_EQ(json["steps"][0]["is_whole"], false);
  EXPECT_EQ(json["steps"][1]["is_whole"], true);
  EXPECT_EQ(json["steps"][1]["files"], 4);
  EXPECT_EQ(json["steps"][1]["tensors"], 15);
  for (const char* step : {"step-00000010", "step-00000020"}) run.damage(step);
  EXPECT_TRUE(verify_json(report(run.path()))["step_to_resume"].is_null());
}

// Of several ranks one does the work and all end alike.
TEST(VerifyCommand, EveryRankEndsWithTheSameCode) {
  const SavedRun run;
  const auto codes_of = [&](const VerifyArguments& arguments) {
    std::vector<ExitCode> codes(3, ExitCode::kInternal);
    ::testing::internal::CaptureStdout();
    run_rank_threads(3, [&](Communicator& world) {
      codes[static_cast<size_t>(world.rank())] = run_verify(arguments, world);
    });
    const std::string text = ::testing::internal::GetCapturedStdout();
    EXPECT_EQ(text.find("step-00000020: "), text.rfind("step-00000020: "));
    return codes;
  };
  const std::filesystem::path json = run.path() / "found.json";
  EXPECT_THAT(codes_of({run.path(), json.string()}),
              ElementsAre(ExitCode::kDone, ExitCode::kDone, ExitCode::kDone));
  EXPECT_EQ(nlohmann::json::parse(testing::read_text(json))["are_whole"], true);
  run.damage("step-00000020");
  EXPECT_THAT(codes_of({run.path(), ""}),
              ElementsAre(ExitCode::kStorage, ExitCode::kStorage, ExitCode::kStorage));
}

}  // namespace
}  // namespace molora
