#include "worker/inspect_report.h"

#include <cmath>
#include <sstream>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "base/error.h"
#include "comm/thread_communicator.h"
#include "support/expect_throw.h"
#include "support/stored_checkpoint.h"
#include "support/temp_folder.h"
#include "worker/progress_changes.h"

namespace molora {
namespace {

using ::testing::AllOf;
using ::testing::ElementsAre;
using ::testing::EndsWith;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::Not;
using ::testing::SizeIs;
using ::testing::StartsWith;
using testing::StoredCheckpoint;
using testing::TempFolder;
using testing::two_rank_checkpoint;

constexpr char kFormat1[] = "tests/assets/checkpoints/format-1/step-00000003";

InspectReport inspect(const std::filesystem::path& first,
                      const std::filesystem::path& second = {}) {
  return make_inspect_report(local_files(), first, second);
}

const InspectedName& at(const InspectReport& report, const std::string& name) {
  for (const InspectedName& tensor : report.tensors) {
    if (tensor.name == name) return tensor;
  }
  throw std::runtime_error("no tensor " + name);
}

void expect_short_lines(const std::string& text) {
  std::istringstream lines(text);
  for (std::string line; std::getline(lines, line);) {
    const bool is_path = line.starts_with("/");  // as long as it is
    EXPECT_TRUE(is_path || line.size() <= 100) << line;
  }
}

TEST(TensorNames, AreTakenApart) {
  const auto parts = [](const std::string& name) {
    const TensorName parsed = parse_tensor_name(name);
    return std::vector<std::string>{parsed.kind, parsed.linear, parsed.part};
  };
  EXPECT_THAT(parts("adapter/layers.3.mlp.up_proj.router.bias"),
              ElementsAre("adapter", "mlp.up_proj", "router.bias"));
  EXPECT_THAT(parts("adamw.first/layers.12.self_attn.q_proj.lora_A"),
              ElementsAre("adamw.first", "self_attn.q_proj", "lora_A"));
  EXPECT_THAT(parts("adapter/extra.weight"), ElementsAre("adapter", "", "extra.weight"));
  EXPECT_THAT(parts("adapter/layers.3"), ElementsAre("adapter", "", "layers.3"));
  EXPECT_THAT(parts("adapter/layers.3.lora_A"), ElementsAre("adapter", "", "layers.3.lora_A"));
  EXPECT_THAT(parts("x"), ElementsAre("", "", "x"));
}

TEST(InspectReport, HasTheNumbersOfEveryWholeTensor) {
  const TempFolder folder;
  StoredCheckpoint checkpoint = two_rank_checkpoint(7);
  const InspectReport report = inspect(checkpoint.write(folder.path()));
  ASSERT_THAT(report.tensors, SizeIs(checkpoint.wholes().size()));
  for (const auto& [name, value] : checkpoint.wholes()) {
    const InspectedName& tensor = at(report, name);
    EXPECT_EQ(tensor.first->shape, value.sizes().vec());
    EXPECT_EQ(tensor.first->statistics.norm, statistics_of(value).norm) << name;
    EXPECT_FALSE(tensor.second.has_value());
    EXPECT_FALSE(tensor.difference.has_value());
  }
  EXPECT_EQ(at(report, "adapter/layers.0.mlp.up_proj.lora_A").first->num_slices, 2);
  EXPECT_EQ(report.tensors[0].name, "adapter/layers.0.mlp.up_proj.lora_A");
  EXPECT_EQ(report.tensors[4].name, "adapter/layers.1.self_attn.q_proj.lora_A");
  EXPECT_THAT(report.tensors[5].name, StartsWith("adamw.first/"));
}

TEST(InspectReport, TextSaysWhatIsInACheckpoint) {
  const TempFolder folder;
  StoredCheckpoint checkpoint = two_rank_checkpoint(1234);
  Progress& progress = *checkpoint.manifest.mutable_progress();
  progress.set_epoch(1);
  progress.set_next_row(640);
  progress.set_optimizer_updates(1230);
  progress.set_skipped_steps(4);
  progress.set_samples_seen(5000);
  progress.set_tokens_seen(1000000);
  progress.set_supervised_seen(70000);
  progress.set_best_eval_loss(1.25);
  progress.set_best_eval_step(1200);
  checkpoint.manifest.mutable_layout()->set_expert_compute("gate_proj grouped, up_proj grouped");
  const InspectReport report = inspect(checkpoint.write(folder.path()));
  const std::string text = inspect_text(report, {});
  EXPECT_THAT(text, HasSubstr("step-00001234\n"
                              "  saved     after step 1234, why: interval; format 2\n"
                              "  progress  1,234 steps (4 skipped), 1,230 updates; next: pass 2, "
                              "row 640\n"
                              "  seen      5,000 samples, 1,000,000 tokens, 70,000 of them in the "
                              "loss\n"
                              "  best      held-out loss 1.2500 after step 1200\n"
                              "  layout    2 ranks: dp 1, tp 2, ep 2; gate_up tokens\n"
                              "  experts   gate_proj grouped, up_proj grouped\n"
                              "  base      base\n"
                              "  data      data\n"
                              "  files     4, "));
  EXPECT_THAT(text, HasSubstr("            adapter-00000.safetensors"));
  EXPECT_THAT(text, HasSubstr("\nadapters: 5 tensors, 172 numbers (F32), over all layers"));
  EXPECT_THAT(text, HasSubstr("  mlp.up_proj      lora_A        [4, 2, 8]           1"));
  EXPECT_THAT(text, Not(HasSubstr("layers.0.mlp")));  // neither loads nor --tensors
  EXPECT_THAT(text, Not(HasSubstr("configuration")));
  expect_short_lines(text);
  const std::string all = inspect_text(report, {.lists_tensors = true, .shows_config = true});
  EXPECT_THAT(all, AllOf(HasSubstr("\n  adamw.second/layers.1.self_attn.q_proj.lora_A "),
                         HasSubstr("\nconfiguration\noutput_dir: \"runs/default\"\n")));
}

TEST(InspectReport, TheTableJoinsTheLayersAndShowsMoments) {
  const TempFolder folder;
  StoredCheckpoint checkpoint(1);
  for (const char* layer : {"0", "1"}) {
    const std::string name = fmt::format("layers.{}.mlp.up_proj.lora_B", layer);
    checkpoint.add_whole("a", "adapter/" + name, at::tensor({3.0F, 0.0F}));
    checkpoint.add_whole("a", "adamw.first/" + name, at::tensor({2.0F, 2.0F}));
    checkpoint.add_whole("a", "adamw.second/" + name, at::tensor({0.0F, std::nanf("")}));
  }
  const std::string text = inspect_text(inspect(checkpoint.write(folder.path())), {});
  // Norms: sqrt(9 + 9) and sqrt(16).
  EXPECT_THAT(text, HasSubstr("  mlp.up_proj      lora_B        [2]                 2     4.243"
                              "        3  50.0%        4        0  NOT FINITE: 2\n"));
}

TEST(InspectReport, ManyFilesAreCounted) {
  const TempFolder folder;
  StoredCheckpoint checkpoint(1);
  checkpoint.add_parts("adapter", "adapter/x", testing::step_numbers(1, {20, 2}), 0, 20);
  EXPECT_THAT(inspect_text(inspect(checkpoint.write(folder.path())), {}),
              AllOf(HasSubstr("files     20, "), HasSubstr("... and 4 more")));
}

TEST(InspectReport, RouterLoadsAreShares) {
  CheckpointManifest manifest;
  const auto add = [&](const std::string& linear, const std::vector<int64_t>& tokens) {
    RouterLoad& load = *manifest.add_router_loads();
    load.set_linear(linear);
    for (const int64_t count : tokens) load.add_tokens(count);
  };
  add("layers.10.mlp.up_proj", {25, 25, 25, 25});
  add("layers.2.mlp.up_proj", {0, 60, 20, 0});
  add("layers.3.mlp.up_proj", {0, 0});
  const std::vector<RouterShare> shares = router_shares(manifest);
  ASSERT_THAT(shares, SizeIs(3));
  EXPECT_EQ(shares[0].linear, "layers.2.mlp.up_proj");
  EXPECT_THAT(shares[0].shares, ElementsAre(0, 0.75, 0.25, 0));
  EXPECT_EQ(shares[0].tokens, 80);
  EXPECT_EQ(shares[0].most, 1);
  EXPECT_EQ(shares[0].least, 0);
  EXPECT_NEAR(shares[0].entropy, -(0.75 * std::log(0.75) + 0.25 * std::log(0.25)) / std::log(4),
              1e-12);
  EXPECT_THAT(shares[1].shares, ElementsAre(0, 0));
  EXPECT_EQ(shares[1].entropy, 0);
  EXPECT_DOUBLE_EQ(shares[2].entropy, 1);
}

TEST(InspectReport, RouterLoadsAreATable) {
  const TempFolder folder;
  StoredCheckpoint checkpoint = two_rank_checkpoint(1);
  RouterLoad& load = *checkpoint.manifest.add_router_loads();
  load.set_linear("layers.0.mlp.up_proj");
  for (int e = 0; e < 16; ++e) load.add_tokens(e == 3 ? 34 : e == 5 ? 10 : 4);
  const std::string text = inspect_text(inspect(checkpoint.write(folder.path())), {});
  EXPECT_THAT(text, HasSubstr("  layers.0.mlp.up_proj        0.865    3: 34.0%     0: 4.0%    "
                              "4   4   4  34   4  10   4   4 ...\n"));
  expect_short_lines(text);
}

// A checkpoint written in another cut and another format is the same when its numbers are.
TEST(InspectReport, LayoutsDoNotMatterToADifference) {
  const TempFolder folder;
  StoredCheckpoint sliced = two_rank_checkpoint(7);
  StoredCheckpoint whole(7);
  for (const auto& [name, value] : sliced.wholes()) {
    whole.add_whole(part_file_name("all", 0), name, value);
  }
  const InspectReport report = inspect(sliced.write(folder / "a"), whole.write(folder / "b"));
  for (const InspectedName& tensor : report.tensors) EXPECT_TRUE(tensor.difference->is_equal);
  const std::string text = inspect_text(report, {});
  EXPECT_THAT(text, EndsWith("\nall 15 tensors are equal bit for bit\n"));
  EXPECT_THAT(text, Not(HasSubstr("\nprogress")));
}

TEST(InspectReport, DifferencesAreRelativeToTheSecond) {
  const TempFolder folder;
  StoredCheckpoint a(10);
  StoredCheckpoint b(20);
  const std::string name = "layers.0.mlp.up_proj.lora_B";
  a.add_whole("f", "adapter/" + name, at::tensor({3.0F, 1.0F}));
  b.add_whole("f", "adapter/" + name, at::tensor({3.0F, 4.0F}));
  a.add_whole("f", "adamw.first/" + name, at::tensor({0.0F}));
  b.add_whole("f", "adamw.first/" + name, at::tensor({0.0F}));
  a.add_whole("f", "adapter/old", at::tensor({1.0F}));
  b.add_whole("f", "adapter/new", at::tensor({1.0F}));
  a.add_whole("f", "adapter/wide", at::tensor({1.0F}));
  b.add_whole("f", "adapter/wide", at::tensor({1.0F, 2.0F}));
  a.manifest.mutable_config()->mutable_train()->set_learning_rate(0.001);
  b.manifest.set_data_fingerprint("other");
  const InspectReport report = inspect(a.write(folder.path()), b.write(folder.path()));
  EXPECT_DOUBLE_EQ(at(report, "adapter/" + name).difference->relative(), 0.6);
  const std::string text = inspect_text(report, {.lists_tensors = true});
  EXPECT_THAT(text, HasSubstr("\nprogress\n  step: 10 -> 20\n"));
  EXPECT_THAT(text, HasSubstr("\nconfiguration\n  train.learning_rate: 0.001 -> 0.0002\n"));
  EXPECT_THAT(text, HasSubstr("\nthe training data are different\n"));
  EXPECT_THAT(text, Not(HasSubstr("the base models are different")));
  EXPECT_THAT(text, HasSubstr("\ntensors of the first alone\n  adapter/old\n"));
  EXPECT_THAT(text, HasSubstr("\ntensors of the second alone\n  adapter/new\n"));
  EXPECT_THAT(text, HasSubstr("\ntensors of another shape\n  adapter/wide: F32 [1] -> F32 [2]\n"));
  EXPECT_THAT(text, HasSubstr("  mlp.up_proj      lora_B                 1/2         0.6"
                              "           3             0             -\n"));
  EXPECT_THAT(text, HasSubstr("  adapter/layers.0.mlp.up_proj.lora_B "));
  EXPECT_THAT(text, EndsWith("\n1 of 5 tensors are equal bit for bit, 1 differ, 3 cannot be "
                             "compared\n"));
  expect_short_lines(text);
}

TEST(InspectReport, FormatOneIsReadAsWell) {
  const InspectReport report = inspect(kFormat1, kFormat1);
  EXPECT_THAT(report.tensors, SizeIs(72));
  const std::string text = inspect_text(report, {});
  EXPECT_THAT(text, HasSubstr("why: not told; format 1"));
  EXPECT_THAT(text, HasSubstr("written whole by one of 1 rank\n"));
  EXPECT_THAT(text, EndsWith("\nall 72 tensors are equal bit for bit\n"));
  EXPECT_THAT(inspect_text(inspect(kFormat1), {}), HasSubstr("  self_attn.q_proj lora_A        "));
}

TEST(InspectReport, ADamagedTensorIsNamed) {
  const TempFolder folder;
  const auto path = two_rank_checkpoint(7).write(folder.path());
  const auto file = path / "adapter-00000.safetensors";
  std::string content = testing::read_text(file);
  content.back() ^= 1;
  testing::write_bytes(file, content);
  EXPECT_THROW_WITH((void)inspect(path), CheckpointError, file.string(), ": tensor adapter/",
                    ": bytes ", "CRC-32C");
}

TEST(InspectReport, OfARunTheNewestWholeCheckpointIsTaken) {
  const TempFolder folder;
  for (const int64_t step : {10, 20}) two_rank_checkpoint(step).write(folder / "checkpoints");
  const auto newest = folder / "checkpoints/step-00000020";
  EXPECT_EQ(step_to_inspect(local_files(), folder.path()), newest);
  std::filesystem::remove(newest / "optimizer-00000.safetensors");
  EXPECT_EQ(step_to_inspect(local_files(), folder.path()), folder / "checkpoints/step-00000010");
  EXPECT_EQ(step_to_inspect(local_files(), newest), newest);
  std::filesystem::remove(folder / "checkpoints/step-00000010/manifest.pb");
  EXPECT_THROW_WITH((void)step_to_inspect(local_files(), folder.path()), CheckpointError,
                    "none of the 2 checkpoints is whole", "molora verify");
}

TEST(InspectReport, JsonHasAllNumbers) {
  const TempFolder folder;
  StoredCheckpoint a = two_rank_checkpoint(10);
  StoredCheckpoint b = two_rank_checkpoint(20);
  a.manifest.mutable_layout()->set_expert_compute("up_proj dense");
  RouterLoad& load = *a.manifest.add_router_loads();
  load.set_linear("layers.0.mlp.up_proj");
  load.add_tokens(1);
  load.add_tokens(3);
  const auto folder_a = a.write(folder.path());
  const nlohmann::json one = inspect_json(inspect(folder_a));
  EXPECT_EQ(one["first"]["progress"]["step"], 10);
  EXPECT_EQ(one["first"]["format"], 2);
  EXPECT_EQ(one["first"]["layout"]["tensor_parallel"], 2);
  EXPECT_EQ(one["first"]["layout"]["expert_compute"], "up_proj dense");
  EXPECT_EQ(one["first"]["files"].size(), 4u);
  EXPECT_EQ(one["first"]["routers"][0]["shares"], (nlohmann::json{0.25, 0.75}));
  const std::string name = "adapter/layers.0.mlp.up_proj.lora_A";
  EXPECT_EQ(one["tensors"][name]["first"]["shape"], (nlohmann::json{4, 2, 8}));
  EXPECT_EQ(one["tensors"][name]["first"]["norm"], statistics_of(a.wholes().at(name)).norm);
  EXPECT_FALSE(one.contains("second"));
  const nlohmann::json two = inspect_json(inspect(folder_a, b.write(folder.path())));
  EXPECT_EQ(two["second"]["progress"]["step"], 20);
  EXPECT_EQ(two["changed"]["progress"], (nlohmann::json{"step: 10 -> 20"}));
  EXPECT_EQ(two["tensors"][name]["difference"]["is_equal"], false);
  EXPECT_EQ(two["tensors"][name]["difference"]["max_abs"], 10.0);
}

TEST(InspectReport, WhatIsNotFiniteIsNullInJson) {
  const TempFolder folder;
  StoredCheckpoint a(1);
  StoredCheckpoint b(2);
  a.add_whole("f", "adapter/x", at::tensor({1.0F}));
  b.add_whole("f", "adapter/x", at::tensor({0.0F}));
  const nlohmann::json json = inspect_json(inspect(a.write(folder.path()), b.write(folder.path())));
  EXPECT_TRUE(json["tensors"]["adapter/x"]["difference"]["relative"].is_null());
  EXPECT_EQ(json["tensors"]["adapter/x"]["difference"]["max_abs"], 1.0);
}

TEST(ProgressChanges, NameEachNumber) {
  Progress a;
  Progress b;
  EXPECT_THAT(progress_changes(a, b), IsEmpty());
  a.set_step(1);
  b.set_step(2);
  b.set_best_eval_loss(0.5);
  EXPECT_THAT(progress_changes(a, b), ElementsAre("step: 1 -> 2", "best_eval_loss: (none) -> 0.5"));
  // Of a message that it is not the same.
  b.mutable_router_health()->set_steps(7);
  EXPECT_THAT(progress_changes(a, b), ElementsAre("step: 1 -> 2", "best_eval_loss: (none) -> 0.5",
                                                  "router_health: differs"));
  a.mutable_router_health()->set_steps(7);
  EXPECT_THAT(progress_changes(a, b), ElementsAre("step: 1 -> 2", "best_eval_loss: (none) -> 0.5"));
}

TEST(InspectCommand, OneRankSpeaksAndAllEnd) {
  const TempFolder folder;
  const auto path = two_rank_checkpoint(7).write(folder.path());
  const auto json = folder / "numbers.json";
  ::testing::internal::CaptureStdout();
  run_rank_threads(3, [&](Communicator& world) {
    EXPECT_EQ(run_inspect({.path = path, .json_path = json.string()}, world), ExitCode::kDone);
  });
  const std::string text = ::testing::internal::GetCapturedStdout();
  EXPECT_THAT(text, StartsWith(path.string() + "\n"));
  EXPECT_EQ(text.find("\n  progress"), text.rfind("\n  progress"));
  EXPECT_EQ(nlohmann::json::parse(testing::read_text(json))["tensors"].size(), 15u);
}

}  // namespace
}  // namespace molora
