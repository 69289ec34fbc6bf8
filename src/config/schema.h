// What proto/run_config.proto says about its fields, in the words of messages and of help.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include <google/protobuf/descriptor.h>

#include "run_config.pb.h"

namespace molora {

using google::protobuf::Descriptor;
using google::protobuf::FieldDescriptor;

const FieldRule& rule_of(const FieldDescriptor& field);

// "model" and "path" make "model.path"; nothing and "model" make "model".
std::string join_name(std::string_view around, std::string_view name);

bool is_message(const FieldDescriptor& field);

// What a value of the field (of one item, for a list) must be: "a whole number", "true or false",
// "one of fp32, bf16, fp64", "text", "a mapping of fields".
std::string expected_text(const FieldDescriptor& field);

// The bounds of a number: "at least 0 and below 1"; empty when there are none.
std::string bounds_text(const FieldRule& bounds);

// The names of an enumeration's values, in the order of the schema.
std::vector<std::string> value_names(const google::protobuf::EnumDescriptor& type);

std::vector<std::string> field_names(const Descriptor& message);

// The field that a plain text stands for where an item of this message is expected: its only
// required field; nullptr when there is none.
const FieldDescriptor* shorthand_field(const Descriptor& message);

// A field anywhere in the schema.
struct SchemaField {
  std::string path;  // "data.train[].path"
  const FieldDescriptor* field = nullptr;
  // A run may be resumed with another value: by its own rule or that of a message around it.
  bool is_free_at_resume = false;
};

// Every field of `message` and of the messages in it, depth first, in the order of the schema.
std::vector<SchemaField> all_fields(const Descriptor& message);

// Gives every field that is not set its default as a set value, at every depth.
void fill_defaults(google::protobuf::Message& message);

}  // namespace molora
