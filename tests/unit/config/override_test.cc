#include "config/override.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "support/config_faults.h"

namespace molora {
namespace {

using testing::config_faults;
using testing::config_from;

TEST(Override, ReplacesWhatTheFileSays) {
  const RunConfig config = config_from("train: {max_steps: 3, log_every: 2}",
                                       {"train.max_steps=5", "train.max_steps=6", "seed=9"});
  EXPECT_EQ(config.train().max_steps(), 6u);
  EXPECT_EQ(config.train().log_every(), 2u);
  EXPECT_EQ(config.seed(), 9u);
}

TEST(Override, TakesYamlValues) {
  const RunConfig config =
      config_from("adapter: {targets: {q_proj: frozen}}",
                  {"data.shuffle=false", "data.system_prompt=", "data.system_prompt=\"a = b\"",
                   "model.ignore_config_fields=[x, y]", "adapter.targets={k_proj: experts}"});
  EXPECT_FALSE(config.data().shuffle());
  EXPECT_EQ(config.data().system_prompt(), "a = b");
  EXPECT_EQ(config.model().ignore_config_fields_size(), 2);
  EXPECT_EQ(config.adapter().targets().q_proj(), TargetsConfig::frozen);
  EXPECT_EQ(config.adapter().targets().k_proj(), TargetsConfig::experts);
}

TEST(Override, ReachesItemsOfLists) {
  const RunConfig config = config_from(
      "data: {eval: [a, {path: b, task: t}]}",
      {"data.eval[0].task=u", "data.eval[1].path=c", "data.eval[2]=d", "data.eval[3].path=e"});
  ASSERT_EQ(config.data().eval_size(), 4);
  EXPECT_EQ(config.data().eval(0).path(), "a");
  EXPECT_EQ(config.data().eval(0).task(), "u");
  EXPECT_EQ(config.data().eval(1).path(), "c");
  EXPECT_EQ(config.data().eval(1).task(), "t");
  EXPECT_EQ(config.data().eval(2).path(), "d");
  EXPECT_EQ(config.data().eval(3).path(), "e");
}

TEST(Override, TakesASingleItemAsAListOfOne) {
  const RunConfig config =
      config_from("data: {eval: a}", {"data.eval[0].format=ming", "data.eval[1]=b"});
  ASSERT_EQ(config.data().eval_size(), 2);
  EXPECT_EQ(config.data().eval(0).path(), "a");
  EXPECT_EQ(config.data().eval(0).format(), DataSource::ming);
  EXPECT_EQ(config.data().eval(1).path(), "b");
}

TEST(Override, ReplacesAWrongValueOfTheFile) {
  EXPECT_EQ(config_from("seed: x", {"seed=3"}).seed(), 3u);
}

TEST(Override, TakesTextWithSpacesAndQuotedHashes) {
  const RunConfig config =
      config_from("", {"data.system_prompt= Be brief. ", "output_dir='runs/a #1'"});
  EXPECT_EQ(config.data().system_prompt(), "Be brief.");
  EXPECT_EQ(config.output_dir(), "runs/a #1");
}

struct Wrong {
  const char* what;
  const char* text;
  const char* fault;
};

class WrongOverride : public ::testing::TestWithParam<Wrong> {};

TEST_P(WrongOverride, IsReportedByItsText) {
  EXPECT_EQ(config_faults("data: {eval: [a]}", {GetParam().text}), GetParam().fault);
}

INSTANTIATE_TEST_SUITE_P(
    All, WrongOverride,
    ::testing::Values(
        Wrong{"no_value", "train.max_steps",
              "--set 'train.max_steps': expected NAME=VALUE, where NAME is like train.max_steps or "
              "data.train[0].path"},
        Wrong{"no_name", "=3",
              "--set '=3': expected NAME=VALUE, where NAME is like train.max_steps or "
              "data.train[0].path"},
        Wrong{"empty_step", "train..x=3",
              "--set 'train..x=3': expected NAME=VALUE, where NAME is like train.max_steps or "
              "data.train[0].path"},
        Wrong{"bad_index", "data.eval[x].path=3",
              "--set 'data.eval[x].path=3': expected NAME=VALUE, where NAME is like "
              "train.max_steps or data.train[0].path"},
        Wrong{"open_index", "data.eval[0=3",
              "--set 'data.eval[0=3': expected NAME=VALUE, where NAME is like train.max_steps or "
              "data.train[0].path"},
        Wrong{"huge_index", "data.eval[99999999999999999999]=3",
              "--set 'data.eval[99999999999999999999]=3': expected NAME=VALUE, where NAME is like "
              "train.max_steps or data.train[0].path"},
        Wrong{"unknown", "train.lr=3",
              "--set 'train.lr=3': train.lr: no such field; did you mean 'train.learning_rate'?"},
        Wrong{"unknown_section", "trian.max_steps=3",
              "--set 'trian.max_steps=3': trian: no such field; did you mean 'train'?"},
        Wrong{"index_too_large", "data.eval[2].path=3",
              "--set 'data.eval[2].path=3': data.eval: has 1 item, expected an index of at most 1, "
              "got [2]"},
        Wrong{"index_of_no_list", "train[0].max_steps=3",
              "--set 'train[0].max_steps=3': train: is not a list, got the index [0]"},
        Wrong{"list_without_index", "data.eval.path=3",
              "--set 'data.eval.path=3': data.eval: is a list, expected an index: data.eval[0]"},
        Wrong{"below_a_value", "seed.x=3", "--set 'seed.x=3': seed: has no fields in it"},
        Wrong{"wrong_type", "seed=[1, 2]",
              "--set 'seed=[1, 2]': seed: expected a whole number, got a list"},
        Wrong{"no_yaml", "seed=[1, 2",
              "--set 'seed=[1, 2': seed: not valid YAML at column 1: end of sequence flow not "
              "found"},
        Wrong{"no_yaml_and_unknown", "sed=[1, 2",
              "--set 'sed=[1, 2': sed: not valid YAML at column 1: end of sequence flow not "
              "found\n"
              "  --set 'sed=[1, 2': sed: no such field; did you mean 'seed'?"},
        Wrong{"twice", "adapter={router: {gate: topk_softmax, gate: topk_softmax}}",
              "--set 'adapter={router: {gate: topk_softmax, gate: topk_softmax}}': "
              "adapter.router.gate: stands twice, first in line 1; remove one"},
        Wrong{"comment", "output_dir=runs/a #1",
              "--set 'output_dir=runs/a #1': output_dir: expected the value in quotes, as YAML "
              "reads only 'runs/a'"},
        Wrong{"no_text", "seed=\x01",
              "--set 'seed=\\x01': seed: expected text, got the control character 0x01"}),
    [](const auto& wrong) { return wrong.param.what; });

TEST(Override, LeavesAFileWithTheWrongShapeToItsOwnFault) {
  EXPECT_EQ(config_faults("train: 3\ndata: {eval: ~}", {"train.max_steps=1", "data.eval[0]=x"}),
            "run.yaml:1: train: expected a mapping of fields, got '3'");
}

}  // namespace
}  // namespace molora
