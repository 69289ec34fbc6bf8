// What single values must be, with the whole message for each way to get one wrong.
#include "config/proto_from_yaml.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "support/config_faults.h"

namespace molora {
namespace {

using testing::config_faults;
using testing::config_from;

struct Wrong {
  const char* what;
  const char* yaml;
  const char* fault;
};

class WrongValue : public ::testing::TestWithParam<Wrong> {};

TEST_P(WrongValue, IsReportedWithPlaceFieldAndReason) {
  EXPECT_EQ(config_faults(GetParam().yaml), GetParam().fault);
}

INSTANTIATE_TEST_SUITE_P(
    Types, WrongValue,
    ::testing::Values(
        Wrong{"fraction", "\ntrain: {max_steps: 1.5}",
              "run.yaml:2: train.max_steps: expected a whole number, got '1.5'"},
        Wrong{"exponent", "train: {max_steps: 1e3}",
              "run.yaml:1: train.max_steps: expected a whole number, got '1e3'"},
        Wrong{"words", "seed: many", "run.yaml:1: seed: expected a whole number, got 'many'"},
        Wrong{"negative", "seed: -3",
              "run.yaml:1: seed: expected a whole number that is not negative, got '-3'"},
        Wrong{"overflow_32", "train: {log_every: 4294967296}",
              "run.yaml:1: train.log_every: expected a whole number of at most 4294967295, got "
              "'4294967296'"},
        Wrong{"overflow_64", "seed: 18446744073709551616",
              "run.yaml:1: seed: expected a whole number of at most 18446744073709551615, got "
              "'18446744073709551616'"},
        Wrong{"quoted_number", "seed: \"3\"",
              "run.yaml:1: seed: expected a whole number, got '3' in quotes"},
        Wrong{"list_for_number", "seed: [3]",
              "run.yaml:1: seed: expected a whole number, got a list"},
        Wrong{"nothing_for_number",
              "seed:", "run.yaml:1: seed: expected a whole number, got nothing"},
        Wrong{"text_for_double", "train: {learning_rate: fast}",
              "run.yaml:1: train.learning_rate: expected a number, got 'fast'"},
        Wrong{"unit_behind_double", "train: {learning_rate: 1e-4x}",
              "run.yaml:1: train.learning_rate: expected a number, got '1e-4x'"},
        Wrong{"mapping_for_double", "train: {clip_norm: {}}",
              "run.yaml:1: train.clip_norm: expected a number, got a mapping"},
        Wrong{"infinite", "train: {clip_norm: .inf}",
              "run.yaml:1: train.clip_norm: expected a finite number, got '.inf'"},
        Wrong{"inf", "train: {clip_norm: inf}",
              "run.yaml:1: train.clip_norm: expected a finite number, got 'inf'"},
        Wrong{"not_a_number", "train: {clip_norm: .NaN}",
              "run.yaml:1: train.clip_norm: expected a finite number, got '.NaN'"},
        Wrong{"double_overflow", "train: {clip_norm: 1e999}",
              "run.yaml:1: train.clip_norm: expected a number within the range of a double, got "
              "'1e999'"},
        Wrong{"yes", "data: {shuffle: yes}",
              "run.yaml:1: data.shuffle: expected true or false, got 'yes'"},
        Wrong{"quoted_flag", "data: {shuffle: 'true'}",
              "run.yaml:1: data.shuffle: expected true or false, got 'true' in quotes"},
        Wrong{"nothing_for_text", "output_dir: ~",
              "run.yaml:1: output_dir: expected text, got nothing; write \"\" for an empty one"},
        Wrong{"list_for_text", "output_dir: [a]",
              "run.yaml:1: output_dir: expected text, got a list"},
        Wrong{"nul_in_text", "output_dir: \"a\\0b\"",
              "run.yaml:1: output_dir: expected text without the character NUL, got 'a\\x00b' in "
              "quotes"},
        Wrong{"text_for_section", "train: fast",
              "run.yaml:1: train: expected a mapping of fields, got 'fast'"},
        Wrong{"list_for_section", "train: [1]",
              "run.yaml:1: train: expected a mapping of fields, got a list"},
        Wrong{"nothing_for_list", "data: {eval: }",
              "run.yaml:1: data.eval: expected a list, got nothing; write [] for an empty one"},
        Wrong{"nothing_for_item", "data: {eval: [~]}",
              "run.yaml:1: data.eval[0]: expected a path or a mapping of fields, got nothing"},
        Wrong{"list_for_item", "data: {eval: [[a]]}",
              "run.yaml:1: data.eval[0]: expected a path or a mapping of fields, got a list"},
        Wrong{"mapping_for_text_item", "model: {ignore_config_fields: [{a: b}]}",
              "run.yaml:1: model.ignore_config_fields[0]: expected text, got a mapping"},
        Wrong{"key_is_a_list", "seed: 1\n? [a]\n: b",
              "run.yaml:2: expected the name of a field, got a list"},
        Wrong{"key_is_nothing", "train: {~: 3}",
              "run.yaml:1: train: expected the name of a field, got nothing"},
        Wrong{"long_value",
              "seed: "
              "123456789 123456789 123456789 123456789 123456789 123456789 123456789 123456789",
              "run.yaml:1: seed: expected a whole number, got "
              "'123456789 123456789 123456789 123456789 123456789 123456789 ...'"}),
    [](const auto& wrong) { return wrong.param.what; });

INSTANTIATE_TEST_SUITE_P(
    Enums, WrongValue,
    ::testing::Values(
        Wrong{"near", "model: {precision: bf61}",
              "run.yaml:1: model.precision: expected one of fp32, bf16, fp64, got 'bf61'; did you "
              "mean 'bf16'?"},
        Wrong{"far", "train: {schedule: polynomial}",
              "run.yaml:1: train.schedule: expected one of cosine, linear, constant, got "
              "'polynomial'"},
        Wrong{"number", "adapter: {targets: {q_proj: 1}}",
              "run.yaml:1: adapter.targets.q_proj: expected one of frozen, lora, experts, got '1'"},
        Wrong{"nothing", "train: {schedule: }",
              "run.yaml:1: train.schedule: expected one of cosine, linear, constant, got nothing"},
        Wrong{"list", "train: {schedule: [cosine]}",
              "run.yaml:1: train.schedule: expected one of cosine, linear, constant, got a list"}),
    [](const auto& wrong) { return wrong.param.what; });

INSTANTIATE_TEST_SUITE_P(
    Bounds, WrongValue,
    ::testing::Values(
        Wrong{"min", "data: {max_length: 1}",
              "run.yaml:1: data.max_length: expected a whole number at least 2, got '1'"},
        Wrong{"max", "adapter: {lora_rank: 65537}",
              "run.yaml:1: adapter.lora_rank: expected a whole number at least 1 and at most "
              "65536, got '65537'"},
        Wrong{"number_in_list", "adapter: {frozen_experts: [1, two]}",
              "run.yaml:1: adapter.frozen_experts[1]: expected a whole number, got 'two'"},
        Wrong{"above", "train: {learning_rate: 0}",
              "run.yaml:1: train.learning_rate: expected a number above 0, got '0'"},
        Wrong{"below", "train: {adam_beta1: 1}",
              "run.yaml:1: train.adam_beta1: expected a number at least 0 and below 1, got '1'"},
        Wrong{"negative", "train: {weight_decay: -0.1}",
              "run.yaml:1: train.weight_decay: expected a number at least 0, got '-0.1'"}),
    [](const auto& wrong) { return wrong.param.what; });

INSTANTIATE_TEST_SUITE_P(
    Names, WrongValue,
    ::testing::Values(
        Wrong{"typo", "adapter: {lora_rnak: 8}",
              "run.yaml:1: adapter.lora_rnak: no such field; did you mean 'adapter.lora_rank'?"},
        Wrong{"top_level_typo", "trian: {seed: 1}",
              "run.yaml:1: trian: no such field; did you mean 'train'?"},
        Wrong{"other_section", "model: {learning_rate: 1}",
              "run.yaml:1: model.learning_rate: no such field; did you mean "
              "'train.learning_rate'?"},
        Wrong{"other_section_typo", "model: {learning-rat: 1}",
              "run.yaml:1: model.learning-rat: no such field; did you mean "
              "'train.learning_rate'?"},
        Wrong{"several_sections", "train: {every: 1}",
              "run.yaml:1: train.every: no such field; did you mean "
              "'adapter.router.health.every' or 'eval.every' or 'checkpoint.every'?"},
        Wrong{"initials", "train: {lr: 1}",
              "run.yaml:1: train.lr: no such field; did you mean 'train.learning_rate'?"},
        Wrong{"initials_elsewhere", "model: {lr: 1}",
              "run.yaml:1: model.lr: no such field; did you mean 'adapter.lora_rank' or "
              "'train.learning_rate'?"},
        Wrong{"words", "train: {epochs: 1}",
              "run.yaml:1: train.epochs: no such field; did you mean 'train.num_epochs'?"},
        Wrong{"item", "data: {eval: [{pth: x, path: y}]}",
              "run.yaml:1: data.eval[0].pth: no such field; did you mean 'data.eval[0].path'?"},
        Wrong{"unlike_any", "eval: {bleu: true}",
              "run.yaml:1: eval.bleu: no such field; known here: every, max_samples_per_task, "
              "at_start"},
        Wrong{"dotted", "train.learning_rate: 1",
              "run.yaml:1: train.learning_rate: no such field; names with dots are for --set, "
              "write 'train:' as a mapping in the file"},
        Wrong{"empty", "eval: {\"\": true}",
              "run.yaml:1: eval.'': no such field; known here: every, max_samples_per_task, "
              "at_start"},
        Wrong{"control_characters", "\"a\\e[1m\\n\": 1",
              "run.yaml:1: a\\x1b[1m\\x0a: no such field; known here: output_dir, seed, model, "
              "adapter, data, train, eval, checkpoint, parallel, supervisor, device"}),
    [](const auto& wrong) { return wrong.param.what; });

TEST(ProtoFromYaml, CutsLongNamesBetweenCharacters) {
  std::string name = "xx";
  for (int i = 0; i < 100; ++i) name += "\xe4\xbd\xa0";
  EXPECT_THAT(config_faults("eval: {" + name + ": 1}"),
              ::testing::StartsWith("run.yaml:1: eval." + name.substr(0, 113) +
                                    "...: no such field; known here: every"));
}

TEST(ProtoFromYaml, ReadsEveryKindOfValue) {
  const RunConfig config = config_from(R"(
output_dir: 2024           # a plain number is text where text is expected
seed: +18446744073709551615
model: {precision: "bf16", ignore_config_fields: [a, b]}
adapter: {lora_alpha: .5, rslora: true, num_experts: 0016}
train: {learning_rate: +2E-4}
data:
  system_prompt: |
    Two
    lines
eval:
)");
  EXPECT_EQ(config.output_dir(), "2024");
  EXPECT_EQ(config.seed(), 18446744073709551615u);
  EXPECT_EQ(config.model().precision(), ModelConfig::bf16);
  EXPECT_EQ(config.model().ignore_config_fields_size(), 2);
  EXPECT_EQ(config.adapter().lora_alpha(), 0.5);
  EXPECT_TRUE(config.adapter().rslora());
  EXPECT_EQ(config.adapter().num_experts(), 16u);
  EXPECT_EQ(config.train().learning_rate(), 2e-4);
  EXPECT_EQ(config.data().system_prompt(), "Two\nlines\n");
}

TEST(ProtoFromYaml, TakesPathsAndSingleItemsAsDataSources) {
  const std::string yaml = R"(
model: {path: m, ignore_config_fields: x}
data:
  train: [a.jsonl, {path: b.json, format: alpaca}]
  eval: c.jsonl
)";
  const RunConfig config = parse_config({{"run.yaml", yaml}}, {}, ConfigUse::kTrain).config;
  ASSERT_EQ(config.data().train_size(), 2);
  EXPECT_EQ(config.data().train(0).path(), "a.jsonl");
  EXPECT_EQ(config.data().train(1).path(), "b.json");
  EXPECT_EQ(config.data().train(1).format(), DataSource::alpaca);
  ASSERT_EQ(config.data().eval_size(), 1);
  EXPECT_EQ(config.data().eval(0).path(), "c.jsonl");
  EXPECT_EQ(config.model().ignore_config_fields(0), "x");
}

TEST(ProtoFromYaml, KeepsTheIndicesOfItemsBehindAFaultyOne) {
  EXPECT_EQ(config_faults("data:\n  eval:\n  - [a]\n  - task: b\n"),
            "run.yaml:3: data.eval[0]: expected a path or a mapping of fields, got a list\n"
            "  run.yaml:4: data.eval[1].path: is missing, expected: A .jsonl file (one sample a "
            "line) or a .json file (one array of samples); write 'path:' under 'data.eval[1]:', or "
            "--set data.eval[1].path=...");
}

TEST(NumberList, IsReadInItsOrder) {
  const RunConfig config = config_from("adapter: {frozen_experts: [3, 0]}");
  ASSERT_EQ(config.adapter().frozen_experts_size(), 2);
  EXPECT_EQ(config.adapter().frozen_experts(0), 3u);
  EXPECT_EQ(config.adapter().frozen_experts(1), 0u);
}

}  // namespace
}  // namespace molora
