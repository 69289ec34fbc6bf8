#include "config/resolved_yaml.h"

#include <limits>
#include <optional>
#include <vector>

#include <gmock/gmock.h>
#include <google/protobuf/util/message_differencer.h>
#include <gtest/gtest.h>

#include "config/config_difference.h"
#include "config/proto_from_yaml.h"
#include "config/schema.h"
#include "config/yaml_tree.h"
#include "support/config_faults.h"
#include "support/varied_config.h"

namespace molora {
namespace {

using google::protobuf::util::MessageDifferencer;
using testing::config_from;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

RunConfig read_back(const RunConfig& config) {
  return parse_config({{"resolved", resolved_yaml(config)}}, {}, ConfigUse::kTrain).config;
}

TEST(ResolvedYaml, ReadsBackToAnEqualMessage) {
  const RunConfig config = config_from("");
  EXPECT_TRUE(MessageDifferencer::Equals(read_back(config), config));
}

// Field by field: as a whole such a configuration asks for things that exclude each other.
RunConfig read_fields(const RunConfig& config) {
  Faults faults(std::vector<ConfigSource>{{"resolved", true}});
  const std::optional<YamlNode> tree = parse_yaml(resolved_yaml(config), {0, ""}, faults);
  FieldPlaces places;
  RunConfig again = read_run_config(*tree, places, faults);
  faults.throw_if_any();
  return again;
}

TEST(ResolvedYaml, KeepsEveryFieldWhateverItsValue) {
  const RunConfig config = testing::varied_config();
  const RunConfig again = read_fields(config);
  EXPECT_THAT(config_difference(config, again), IsEmpty());
  EXPECT_TRUE(MessageDifferencer::Equals(again, config));
}

TEST(ResolvedYaml, VariesEveryFieldInTheTestAbove) {
  const RunConfig config = testing::varied_config();
  size_t leaves = 0;
  for (const SchemaField& field : all_fields(*RunConfig::descriptor())) {
    // Fields of list items differ once per item; the lists themselves are counted by their items.
    const bool is_in_list = field.path.find("[]") != std::string::npos;
    if (is_message(*field.field)) continue;
    leaves += is_in_list || field.field->is_repeated() ? size_t{3} : size_t{1};
  }
  EXPECT_EQ(config_difference(RunConfig(), config).size(), leaves);
}

TEST(ResolvedYaml, IsCompleteAndInTheOrderOfTheSchema) {
  RunConfig config;
  config.mutable_model()->set_path("m");
  config.mutable_model()->add_ignore_config_fields("x");
  config.mutable_data()->add_train()->set_path("t.jsonl");
  const std::string yaml = resolved_yaml(config);
  EXPECT_THAT(yaml, ::testing::StartsWith("output_dir: \"runs/default\"\n"
                                          "seed: 1234\n"
                                          "model:\n"
                                          "  path: \"m\"\n"
                                          "  precision: fp32\n"
                                          "  tokenizer: \"\"\n"
                                          "  quantization: none\n"
                                          "  ignore_config_fields:\n"
                                          "    - \"x\"\n"
                                          "adapter:\n"
                                          "  targets:\n"
                                          "    q_proj: lora\n"));
  EXPECT_THAT(yaml, HasSubstr("data:\n"
                              "  train:\n"
                              "    - path: \"t.jsonl\"\n"
                              "      format: auto\n"
                              "      task: \"\"\n"
                              "  eval: []\n"));
  EXPECT_THAT(yaml, HasSubstr("\n  learning_rate: 0.0002\n"));
  EXPECT_THAT(yaml, HasSubstr("\n  adam_eps: 1e-08\n"));
}

TEST(ResolvedYaml, KeepsListsOfLongNumbers) {
  const RunConfig config =
      config_from("train: {trace_steps: [3, 18446744073709551615]}", {"train.trace_steps[0]=5"});
  ASSERT_EQ(config.train().trace_steps_size(), 2);
  EXPECT_EQ(config.train().trace_steps(0), 5U);
  EXPECT_EQ(config.train().trace_steps(1), 18446744073709551615U);
  EXPECT_TRUE(MessageDifferencer::Equals(read_back(config), config));
}

TEST(MessageYaml, LeavesOutWhatIsNotSet) {
  TrainConfig config;
  config.set_learning_rate(0.5);
  config.add_trace_steps(3);
  EXPECT_EQ(message_yaml(config), "learning_rate: 0.5\ntrace_steps:\n  - 3\n");
}

TEST(ResolvedYaml, KeepsNumbersToTheLastBit) {
  for (const double value : {0.1, 1.0 / 3.0, 2e-4, std::numeric_limits<double>::max(),
                             std::numeric_limits<double>::min(), 5e-324, 123456789012345678.0}) {
    RunConfig config = config_from("");
    config.mutable_train()->set_learning_rate(value);
    EXPECT_EQ(read_back(config).train().learning_rate(), value);
  }
}

}  // namespace
}  // namespace molora
