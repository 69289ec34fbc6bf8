#include "config/schema.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "config/field_rules.h"

namespace molora {
namespace {

TEST(Schema, KeepsItsOwnBounds) {
  for (const SchemaField& entry : all_fields(*RunConfig::descriptor())) {
    const FieldDescriptor& field = *entry.field;
    double value = 0;
    if (field.cpp_type() == FieldDescriptor::CPPTYPE_UINT32)
      value = field.default_value_uint32();
    else if (field.cpp_type() == FieldDescriptor::CPPTYPE_UINT64)
      value = static_cast<double>(field.default_value_uint64());
    else if (field.cpp_type() == FieldDescriptor::CPPTYPE_DOUBLE)
      value = field.default_value_double();
    else
      continue;
    EXPECT_EQ(bounds_fault(field, value, "its default"), "") << entry.path;
  }
}

TEST(Schema, GivesBoundsOnlyToNumbersAndRequiresOnlyTextAndLists) {
  for (const SchemaField& entry : all_fields(*RunConfig::descriptor())) {
    const FieldRule& rules = rule_of(*entry.field);
    const auto type = entry.field->cpp_type();
    const bool is_number = type == FieldDescriptor::CPPTYPE_UINT32 ||
                           type == FieldDescriptor::CPPTYPE_UINT64 ||
                           type == FieldDescriptor::CPPTYPE_DOUBLE;
    EXPECT_TRUE(is_number || bounds_text(rules).empty()) << entry.path;
    const bool may_be_required =
        entry.field->is_repeated() || type == FieldDescriptor::CPPTYPE_STRING;
    EXPECT_TRUE(may_be_required || !rules.required()) << entry.path;
  }
}

TEST(Schema, ListsFieldsByPath) {
  std::vector<std::string> paths;
  for (const SchemaField& field : all_fields(*DataConfig::descriptor())) {
    paths.push_back(field.path);
  }
  EXPECT_THAT(
      std::vector<std::string>(paths.begin(), paths.begin() + 5),
      ::testing::ElementsAre("train", "train[].path", "train[].format", "train[].task", "eval"));
}

}  // namespace
}  // namespace molora
