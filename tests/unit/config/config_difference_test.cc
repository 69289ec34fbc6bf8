#include "config/config_difference.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "support/config_faults.h"

namespace molora {
namespace {

using testing::config_from;
using ::testing::ElementsAre;
using ::testing::IsEmpty;

TEST(ConfigDifference, NamesEachFieldWithBothValues) {
  EXPECT_THAT(config_difference(
                  config_from("train: {learning_rate: 0.001}\noutput_dir: a"),
                  config_from("train: {learning_rate: 0.002, schedule: linear}\noutput_dir: b")),
              ElementsAre("output_dir: \"a\" -> \"b\"", "train.learning_rate: 0.001 -> 0.002",
                          "train.schedule: cosine -> linear"));
}

TEST(ConfigDifference, NamesItemsThatOnlyOneSideHas) {
  EXPECT_THAT(
      config_difference(config_from("data: {eval: [a]}\nmodel: {ignore_config_fields: [x]}"),
                        config_from("data: {eval: [b, {path: c, task: t}]}")),
      ElementsAre("model.ignore_config_fields[0]: \"x\" -> (none)",
                  "data.eval[0].path: \"a\" -> \"b\"", "data.eval[1].path: (none) -> \"c\"",
                  "data.eval[1].format: (none) -> auto", "data.eval[1].task: (none) -> \"t\""));
}

// Applied as overrides to nothing, the values of a configuration give it again.
TEST(ConfigDifference, ValuesAreAllThatAConfigurationSays) {
  const RunConfig config =
      config_from("seed: 7\ndata: {eval: [a], max_length: 64}\nadapter: {targets: {q_proj: lora}}");
  std::vector<std::string> overrides;
  for (const ConfigValue& value : config_values(config)) {
    if (value.name.find('[') == std::string::npos) {
      overrides.push_back(value.name + "=" + value.text);
    }
  }
  EXPECT_GT(overrides.size(), 50u);
  EXPECT_THAT(config_difference(config, config_from("data: {eval: [a]}", overrides)), IsEmpty());
}

TEST(ConfigDifference, KnowsWhichFieldsMayChangeAtAResume) {
  const auto changes = config_changes(
      config_from("seed: 1\ndata: {eval: [a]}\neval: {every: 2}\nparallel: {audit_every: 1}"),
      config_from("seed: 2\ndata: {eval: [b]}\neval: {every: 3}\nparallel: {audit_every: 2}\n"
                  "adapter: {frozen_experts: [1]}"));
  std::vector<std::string> texts;
  for (const ConfigChange& change : changes) {
    texts.push_back((change.is_free_at_resume ? "free " : "guarded ") + change_text(change));
  }
  EXPECT_THAT(texts, ElementsAre("guarded seed: 1 -> 2", "free data.eval[0].path: \"a\" -> \"b\"",
                                 "free eval.every: 2 -> 3", "free parallel.audit_every: 1 -> 2",
                                 "guarded adapter.frozen_experts[0]: (none) -> 1"));
}

TEST(ConfigDifference, TakesAFieldThatIsNotSetAsItsDefault) {
  RunConfig bare;
  bare.mutable_model()->set_path("m");
  bare.mutable_data()->add_train()->set_path("t.jsonl");
  EXPECT_THAT(config_difference(bare, config_from("")), IsEmpty());
}

}  // namespace
}  // namespace molora
