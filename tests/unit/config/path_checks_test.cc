#include "config/path_checks.h"

#include <filesystem>
#include <string>

#include <gtest/gtest.h>

#include "base/error.h"
#include "config/load_config.h"
#include "support/expect_throw.h"
#include "support/temp_folder.h"

namespace molora {
namespace {

using testing::TempFolder;

// A folder with a model folder and a data file, and a configuration in it.
class PathChecks : public ::testing::Test {
 protected:
  PathChecks() {
    folder_.write("model/config.json", "{}");
    folder_.write("train.jsonl", "");
  }

  std::string at(const std::string& name) const { return (folder_ / name).string(); }

  LoadedConfig load(const std::string& yaml, ConfigUse use = ConfigUse::kTrain) const {
    return load_config({{folder_.write("run.yaml", yaml)}, {}, use});
  }

  TempFolder folder_;
};

TEST_F(PathChecks, PassWhatExists) {
  const std::string yaml = "model: {path: " + at("model") + ", tokenizer: " + at("model") +
                           "}\ndata: {train: " + at("train.jsonl") +
                           ", eval: " + at("train.jsonl") +
                           "}\ncheckpoint: {resume: " + at("model") + "}\n";
  EXPECT_EQ(load(yaml).config.model().path(), at("model"));
}

TEST_F(PathChecks, ReportEveryMissingPathWithItsNeighbour) {
  EXPECT_THROW_WITH(
      load("model:\n  path: " + at("modle") +
           "\n  tokenizer: /nowhere/at/all\ndata:\n  train:\n  - " + at("train.json") +
           "\n  - path: " + at("other") + "\n  eval: " + at("dev") + "\n"),
      ConfigError, "the configuration has 5 faults:\n",
      at("run.yaml") + ":2: model.path: expected a folder, but '" + at("modle") +
          "' does not exist; did you mean '" + at("model") + "'?",
      at("run.yaml") +
          ":3: model.tokenizer: expected a folder, but '/nowhere/at/all' does not exist\n",
      at("run.yaml") + ":6: data.train[0].path: expected a file, but '" + at("train.json") +
          "' does not exist; did you mean '" + at("train.jsonl") + "'?",
      at("run.yaml") + ":7: data.train[1].path: expected a file, but '" + at("other") +
          "' does not exist\n",
      at("run.yaml") + ":8: data.eval[0].path: expected a file, but '" + at("dev") +
          "' does not exist");
}

TEST_F(PathChecks, TellFilesFromFolders) {
  EXPECT_THROW_WITH(
      load("model: {path: " + at("train.jsonl") + "}\ndata: {train: " + at("model") + "}\n"),
      ConfigError,
      ":1: model.path: expected a folder, but '" + at("train.jsonl") + "' is not a folder",
      ":2: data.train[0].path: expected a file, but '" + at("model") + "' is a folder");
}

TEST_F(PathChecks, ReportPathsThatCannotBeLookedAt) {
  const std::string below_a_file = at("train.jsonl") + "/x";
  const std::string too_long(5000, 'x');
  EXPECT_THROW_WITH(
      load("model: {path: " + too_long + "}\ndata: {train: " + below_a_file + "}\n"), ConfigError,
      ":1: model.path: expected a folder, but 'xxx", "cannot be looked at: File name too long",
      ":2: data.train[0].path: expected a file, but '" + below_a_file + "' does not exist");
}

TEST_F(PathChecks, KnowTheWordsOfResume) {
  const std::string rest =
      "model: {path: " + at("model") + "}\ndata: {train: " + at("train.jsonl") + "}\n";
  EXPECT_EQ(load(rest + "checkpoint: {resume: none}").config.checkpoint().resume(), "none");
  EXPECT_THROW_WITH(load(rest + "checkpoint: {resume: atuo}"), ConfigError,
                    ":3: checkpoint.resume: expected auto, none or the path of a checkpoint, but "
                    "'atuo' does not exist; did you mean 'auto'?");
  EXPECT_THROW_WITH(load(rest + "checkpoint: {resume: \"\"}"), ConfigError,
                    ":3: checkpoint.resume: expected auto, none or the path of a checkpoint, but "
                    "'' does not exist");
  EXPECT_THROW_WITH(load(rest + "checkpoint: {resume: " + at("modle") + "}"), ConfigError,
                    "does not exist; did you mean '" + at("model") + "'?");
}

TEST_F(PathChecks, LookAtTheModelOnlyWhenOnlyAModelIsRead) {
  const std::string yaml =
      "model: {path: " + at("model") + "}\ndata: {train: x}\ncheckpoint: {resume: y}\n";
  EXPECT_EQ(load(yaml, ConfigUse::kModel).config.data().train(0).path(), "x");
  EXPECT_THROW_WITH(load("model: {path: x}", ConfigUse::kModel), ConfigError,
                    ":1: model.path: expected a folder, but 'x' does not exist");
}

}  // namespace
}  // namespace molora
