// A configuration in which every field has a value of its own that is not the default.
#pragma once

#include <algorithm>
#include <string>

#include <google/protobuf/message.h>

#include "base/check.h"
#include "run_config.pb.h"

namespace molora::testing {

// Text that YAML would take for something else, or lose, when it is not written with care.
inline std::string awkward_text(const std::string& name) {
  return " # \"" + name + "\": {a, [b]} \\ 'c' \t\n\r\x01\x7f - true \xe4\xbd\xa0\xe5\xa5\xbd ";
}

// Of a number, when it is above 0.
inline double lower_bound(const google::protobuf::FieldDescriptor& field) {
  const FieldRule& bounds = field.options().GetExtension(rule);
  return std::max({0.0, bounds.min(), bounds.above()});
}

inline void vary(google::protobuf::Message& message) {
  using google::protobuf::FieldDescriptor;
  const google::protobuf::Reflection& reflection = *message.GetReflection();
  const google::protobuf::Descriptor& type = *message.GetDescriptor();
  for (int i = 0; i < type.field_count(); ++i) {
    const FieldDescriptor* field = type.field(i);
    const std::string name(field->name());
    const auto number = static_cast<uint32_t>(field->number());
    if (field->is_repeated()) {
      for (int item = 0; item < 3; ++item) {
        if (field->cpp_type() == FieldDescriptor::CPPTYPE_MESSAGE) {
          vary(*reflection.AddMessage(&message, field));
        } else if (field->cpp_type() == FieldDescriptor::CPPTYPE_UINT32) {
          reflection.AddUInt32(&message, field, number + 2 * static_cast<uint32_t>(item));
        } else if (field->cpp_type() == FieldDescriptor::CPPTYPE_UINT64) {
          reflection.AddUInt64(&message, field, number + 2 * static_cast<uint64_t>(item));
        } else {
          reflection.AddString(&message, field, awkward_text(name + std::to_string(item)));
        }
      }
      continue;
    }
    switch (field->cpp_type()) {
      case FieldDescriptor::CPPTYPE_MESSAGE:
        vary(*reflection.MutableMessage(&message, field));
        break;
      case FieldDescriptor::CPPTYPE_UINT32:
        reflection.SetUInt32(&message, field, 1000 - number);
        break;
      case FieldDescriptor::CPPTYPE_UINT64:
        reflection.SetUInt64(&message, field, 18446744073709551615u - number);
        break;
      case FieldDescriptor::CPPTYPE_DOUBLE:
        reflection.SetDouble(&message, field, lower_bound(*field) + 1.0 / (1.0 + 1e-9 + number));
        break;
      case FieldDescriptor::CPPTYPE_BOOL:
        reflection.SetBool(&message, field, !field->default_value_bool());
        break;
      case FieldDescriptor::CPPTYPE_ENUM: {
        const google::protobuf::EnumDescriptor& values = *field->enum_type();
        const int last = values.value_count() - 1;
        const bool is_default = field->default_value_enum()->index() == last;
        reflection.SetEnum(&message, field, values.value(is_default ? 0 : last));
        break;
      }
      case FieldDescriptor::CPPTYPE_STRING:
        reflection.SetString(&message, field, awkward_text(name));
        break;
      default:
        MOLORA_CHECK(false, "type of {}", name);
    }
  }
}

inline RunConfig varied_config() {
  RunConfig config;
  vary(config);
  return config;
}

}  // namespace molora::testing
