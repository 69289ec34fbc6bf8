#include "config/load_config.h"

#include <filesystem>

#include <gmock/gmock.h>
#include <google/protobuf/util/message_differencer.h>
#include <gtest/gtest.h>

#include "support/config_faults.h"
#include "support/expect_throw.h"
#include "support/temp_folder.h"

namespace molora {
namespace {

using google::protobuf::util::MessageDifferencer;
using testing::config_faults;
using testing::config_from;
using testing::config_message;
using ::testing::ElementsAre;
using testing::TempFolder;

TEST(LoadConfig, ReportsEveryFaultAtOnceInTheOrderOfTheLines) {
  const std::string yaml = R"(seed: -3
outputdir: x
train:
  lr: 0.1
  max_steps: 10
  warmup_steps: 10
  max_steps: 20
  log_every: 0
adapter:
  num_experts: 2
  experts_per_token: 3
data:
  shuffle: 1
)";
  EXPECT_EQ(config_message(yaml, {"train.clip_norm=-1", "nonsense", "evil.every=3"}),
            "the configuration has 12 faults:\n"
            "  run.yaml: model.path: is missing, expected: Folder of the frozen base model in "
            "Hugging Face layout (config.json, *.safetensors); write 'path:' under 'model:', or "
            "--set model.path=...\n"
            "  run.yaml:1: seed: expected a whole number that is not negative, got '-3'\n"
            "  run.yaml:2: outputdir: no such field; did you mean 'output_dir'?\n"
            "  run.yaml:4: train.lr: no such field; did you mean 'train.learning_rate'?\n"
            "  run.yaml:7: train.max_steps: stands twice, first in line 5; remove one\n"
            "  run.yaml:8: train.log_every: expected a whole number at least 1, got '0'\n"
            "  run.yaml:11: adapter.experts_per_token: expected adapter.experts_per_token of at "
            "most adapter.num_experts (2), got 3\n"
            "  run.yaml:12: data.train: is missing, expected: Training data, read in this order; "
            "write 'train:' under 'data:', or --set data.train=...\n"
            "  run.yaml:13: data.shuffle: expected true or false, got '1'\n"
            "  --set 'train.clip_norm=-1': train.clip_norm: expected a number at least 0, got "
            "'-1'\n"
            "  --set 'nonsense': expected NAME=VALUE, where NAME is like train.max_steps or "
            "data.train[0].path\n"
            "  --set 'evil.every=3': evil: no such field; did you mean 'eval'?");
}

TEST(LoadConfig, CountsTheFaultsBehindTheFirstTwoHundred) {
  std::string yaml;
  for (int i = 0; i < 300; ++i) yaml += "x" + std::to_string(i) + ": 1\n";
  const std::string message = config_message(yaml);
  EXPECT_THAT(message, ::testing::StartsWith("the configuration has 202 faults:\n"));
  EXPECT_THAT(message, ::testing::HasSubstr("\n  run.yaml:200: x199: "));
  EXPECT_THAT(message, ::testing::EndsWith("\n  and 2 more"));
}

TEST(LoadConfig, SaysWhereAMissingFieldBelongs) {
  EXPECT_EQ(config_message("seed: 1\nmodel:\n  precision: bf16\n", {}, ConfigUse::kModel),
            "the configuration has 1 fault:\n"
            "  run.yaml:2: model.path: is missing, expected: Folder of the frozen base model in "
            "Hugging Face layout (config.json, *.safetensors); write 'path:' under 'model:', or "
            "--set model.path=...");
  EXPECT_EQ(config_message("model: {path: ''}", {}, ConfigUse::kModel),
            "the configuration has 1 fault:\n"
            "  run.yaml:1: model.path: is empty, expected: Folder of the frozen base model in "
            "Hugging Face layout (config.json, *.safetensors)");
  EXPECT_THROW_WITH(parse_config({}, {"model.precision=bf16"}, ConfigUse::kModel), ConfigError,
                    "\n  configuration: model.path: is missing");
  EXPECT_EQ(config_message("model: {path: m}\ndata: {train: []}"),
            "the configuration has 1 fault:\n"
            "  run.yaml:2: data.train: is empty, expected: Training data, read in this order");
}

TEST(LoadConfig, AsksForModelFieldsOnlyWhenAModelIsRead) {
  EXPECT_EQ(config_message("model: {path: m}\ndata: {eval: [{task: x}]}", {}, ConfigUse::kModel),
            "");
}

TEST(LoadConfig, DoesNotCallAFaultyFieldMissing) {
  EXPECT_EQ(config_message("model: 3\ndata: {train: {pth: x, path: [1]}}"),
            "the configuration has 3 faults:\n"
            "  run.yaml:1: model: expected a mapping of fields, got '3'\n"
            "  run.yaml:2: data.train[0].pth: no such field; did you mean 'data.train[0].path'?\n"
            "  run.yaml:2: data.train[0].path: expected text, got a list");
}

TEST(LoadConfig, FillsEveryDefault) {
  const RunConfig config = config_from("");
  EXPECT_TRUE(config.train().has_learning_rate());
  EXPECT_EQ(config.train().learning_rate(), 2e-4);
  EXPECT_TRUE(config.adapter().router().has_gate());
  EXPECT_TRUE(config.model().has_tokenizer());
  EXPECT_TRUE(config.data().train(0).has_format());
  EXPECT_TRUE(config.checkpoint().has_resume());
}

TEST(LoadConfig, MergesFilesInOrder) {
  const TempFolder folder;
  const auto data = folder.write("t.jsonl", "");
  const auto first = folder.write("first.yaml",
                                  "seed: 1\n"
                                  "model: {path: " +
                                      folder.path().string() +
                                      ", precision: bf16}\n"
                                      "data: {train: [x, y]}\n"
                                      "train: {max_steps: 7, log_every: 3}\n");
  const auto second = folder.write(
      "second.yaml", "train: {max_steps: 9}\ndata: {train: [" + data.string() + "]}\nmodel:\n");
  const RunConfig config = load_config({{first, second}, {"train.log_every=4"}}).config;
  EXPECT_EQ(config.seed(), 1u);
  EXPECT_EQ(config.model().precision(), ModelConfig::bf16);
  EXPECT_EQ(config.train().max_steps(), 9u);
  EXPECT_EQ(config.train().log_every(), 4u);
  ASSERT_EQ(config.data().train_size(), 1);
  EXPECT_EQ(config.data().train(0).path(), data.string());
}

TEST(LoadConfig, ReplacesListsHoweverShortTheyAreWritten) {
  const std::string first = "model: {path: m}\ndata: {train: {path: a, task: t}, eval: [a, b]}";
  const std::string second = "data: {train: {path: b}, eval: c}";
  const DataConfig data =
      parse_config({{"first", first}, {"second", second}}, {}, ConfigUse::kTrain).config.data();
  ASSERT_EQ(data.train_size(), 1);
  EXPECT_EQ(data.train(0).path(), "b");
  EXPECT_EQ(data.train(0).task(), "");
  ASSERT_EQ(data.eval_size(), 1);
  EXPECT_EQ(data.eval(0).path(), "c");
}

TEST(LoadConfig, NamesTheFileOfEachFault) {
  const TempFolder folder;
  const auto first = folder.write("first.yaml", "\nseed: x\n");
  const auto second = folder.write("second.yaml", "\n\ntrain: {max_steps: x}\n");
  EXPECT_THROW_WITH(load_config({{first, second}, {}}), ConfigError,
                    first.string() + ":2: seed: expected a whole number",
                    second.string() + ":3: train.max_steps: expected a whole number");
}

TEST(LoadConfig, ReportsFilesThatCannotBeRead) {
  const TempFolder folder;
  folder.write("run.yaml", "");
  const auto large = folder.write("large.yaml", std::string((size_t{1} << 20) + 1, ' '));
  EXPECT_THROW_WITH(load_config({{folder / "rum.yaml", folder.path(), large}, {}}), ConfigError,
                    "the configuration has 3 faults:\n",
                    (folder / "rum.yaml").string() + ": the file does not exist; did you mean '",
                    "\n  " + folder.path().string() + ": expected a file, found a folder",
                    "\n  " + large.string() + ": 1048577 bytes, but at most 1048576");
}

TEST(LoadConfig, ASettingInThePlaceOfAFileIsToldWhereItBelongs) {
  EXPECT_THROW_WITH(load_config({{"train.max_steps=4"}, {}}), ConfigError,
                    "train.max_steps=4: the file does not exist; a setting has its own --set: "
                    "--set 'train.max_steps=4'");
}

TEST(LoadConfig, StopsAtTextThatIsNoMapping) {
  EXPECT_EQ(config_message("- a\n- b\n"),
            "the configuration has 1 fault:\n"
            "  run.yaml: expected a mapping of fields, got a list");
  EXPECT_EQ(config_message("seed: [1\n"),
            "the configuration has 1 fault:\n"
            "  run.yaml:2: not valid YAML at column 1: end of sequence flow not found");
  EXPECT_EQ(config_message("seed: 1\n---\nseed: 2\n"),
            "the configuration has 1 fault:\n"
            "  run.yaml: expected one YAML document, got several");
}

TEST(LoadConfig, ReadsTextsOfOneOriginEach) {
  const LoadedConfig loaded =
      parse_config({{"a", "model: {path: m}"}, {"b", "seed: 5"}}, {"seed=6"}, ConfigUse::kModel);
  EXPECT_EQ(loaded.config.seed(), 6u);
  EXPECT_THROW_WITH(parse_config({{"a", ""}, {"b", "sed: 5"}}, {}, ConfigUse::kModel), ConfigError,
                    "  b:1: sed: no such field; did you mean 'seed'?");
}

TEST(LoadConfig, ReturnsWarnings) {
  const LoadedConfig loaded =
      parse_config({{"run.yaml", "model: {path: m}\nadapter:\n  experts_per_token: 1\n"}}, {},
                   ConfigUse::kModel);
  EXPECT_THAT(
      loaded.warnings,
      ElementsAre("run.yaml:3: adapter.experts_per_token: with the gate topk_softmax the "
                  "one chosen expert always has weight 1, so the router gets no gradient "
                  "from the language-model loss; use softmax_topk, or 2 experts per token"));
}

}  // namespace
}  // namespace molora
