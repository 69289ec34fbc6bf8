#include "config/describe_config.h"

#include <sstream>

#include <gmock/gmock.h>
#include <google/protobuf/util/message_differencer.h>
#include <gtest/gtest.h>

#include "config/schema.h"
#include "support/config_faults.h"

namespace molora {
namespace {

using google::protobuf::util::MessageDifferencer;
using testing::config_from;
using testing::config_message;
using ::testing::HasSubstr;

TEST(DescribeConfig, IsAConfigurationOnceTheRequiredFieldsAreGiven) {
  EXPECT_TRUE(MessageDifferencer::Equals(config_from(describe_config()), config_from("")));
  EXPECT_THAT(config_message(describe_config()), HasSubstr("the configuration has 2 faults:\n"));
}

TEST(DescribeConfig, SaysMeaningTypeDefaultAndBounds) {
  const std::string text = describe_config();
  EXPECT_THAT(text, HasSubstr("  # Peak learning rate.\n"
                              "  # (a number above 0, default 0.0002)\n"
                              "  learning_rate: 0.0002\n"));
  EXPECT_THAT(text, HasSubstr("# (one of fp32, bf16, fp64, default fp32)\n"));
  EXPECT_THAT(text, HasSubstr("  # (text, required; may change at a resume)\n"));
  EXPECT_THAT(text, HasSubstr("An item may also be its path alone."));
}

TEST(DescribeConfig, SaysWhatMayChangeAtAResume) {
  const std::string text = describe_config();
  EXPECT_THAT(text, HasSubstr("# (a whole number at least 1, default 1; may change at a resume)\n"
                              "  log_every: 1\n"));
  EXPECT_THAT(text, HasSubstr("(text, required; may change at a resume)\n  path: \"\"\n"));
  // By the rule of the message around it.
  EXPECT_THAT(text, HasSubstr("default 3; may change at a resume)\n  keep_last: 3\n"));
  EXPECT_THAT(text, HasSubstr("# (a whole number, default 1234)\nseed: 1234\n"));
}

TEST(DescribeConfig, DocumentsEveryField) {
  for (const SchemaField& field : all_fields(*RunConfig::descriptor())) {
    const std::string name(field.field->name());
    EXPECT_THAT(describe_config(), HasSubstr(name + ":")) << field.path;
    if (is_message(*field.field) && !field.field->is_repeated()) continue;
    EXPECT_NE(rule_of(*field.field).doc(), "") << field.path;
  }
}

TEST(DescribeConfig, KeepsLinesShort) {
  std::istringstream lines(describe_config());
  for (std::string line; std::getline(lines, line);) EXPECT_LE(line.size(), 100u) << line;
}

}  // namespace
}  // namespace molora
