// The value of a field as YAML text.
#pragma once

#include <string>

#include <google/protobuf/message.h>

#include "config/schema.h"

namespace molora {

// "text" in double quotes, with escapes for what would not survive.
std::string yaml_text(const std::string& text);

// A singular field that is no message, its default when it is not set: 0.0002, true, chatml, "x".
std::string field_text(const google::protobuf::Message& message, const FieldDescriptor& field);

// One item of a list of texts.
std::string item_text(const google::protobuf::Message& message, const FieldDescriptor& field,
                      int item);

}  // namespace molora
