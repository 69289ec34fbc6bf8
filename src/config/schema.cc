#include "config/schema.h"

#include <fmt/format.h>

#include "base/check.h"

namespace molora {

namespace {

// `around`: the field that holds the message.
void append_fields(const Descriptor& message, const SchemaField& around,
                   std::vector<SchemaField>& all) {
  for (int i = 0; i < message.field_count(); ++i) {
    const FieldDescriptor& field = *message.field(i);
    const SchemaField entry{join_name(around.path, field.name()), &field,
                            around.is_free_at_resume || rule_of(field).free_at_resume()};
    all.push_back(entry);
    if (!is_message(field)) continue;
    SchemaField inner = entry;
    if (field.is_repeated()) inner.path += "[]";
    append_fields(*field.message_type(), inner, all);
  }
}

void set_to_default(google::protobuf::Message& message, const FieldDescriptor& field) {
  const google::protobuf::Reflection& reflection = *message.GetReflection();
  switch (field.cpp_type()) {
    case FieldDescriptor::CPPTYPE_UINT32:
      return reflection.SetUInt32(&message, &field, field.default_value_uint32());
    case FieldDescriptor::CPPTYPE_UINT64:
      return reflection.SetUInt64(&message, &field, field.default_value_uint64());
    case FieldDescriptor::CPPTYPE_DOUBLE:
      return reflection.SetDouble(&message, &field, field.default_value_double());
    case FieldDescriptor::CPPTYPE_BOOL:
      return reflection.SetBool(&message, &field, field.default_value_bool());
    case FieldDescriptor::CPPTYPE_ENUM:
      return reflection.SetEnum(&message, &field, field.default_value_enum());
    case FieldDescriptor::CPPTYPE_STRING:
      return reflection.SetString(&message, &field, std::string(field.default_value_string()));
    default:
      MOLORA_CHECK(false, "type of {}", std::string(field.full_name()));
  }
}

}  // namespace

const FieldRule& rule_of(const FieldDescriptor& field) {
  return field.options().GetExtension(molora::rule);
}

std::string join_name(std::string_view around, std::string_view name) {
  return around.empty() ? std::string(name) : fmt::format("{}.{}", around, name);
}

bool is_message(const FieldDescriptor& field) {
  return field.cpp_type() == FieldDescriptor::CPPTYPE_MESSAGE;
}

std::string expected_text(const FieldDescriptor& field) {
  switch (field.cpp_type()) {
    case FieldDescriptor::CPPTYPE_UINT32:
    case FieldDescriptor::CPPTYPE_UINT64:
      return "a whole number";
    case FieldDescriptor::CPPTYPE_DOUBLE:
      return "a number";
    case FieldDescriptor::CPPTYPE_BOOL:
      return "true or false";
    case FieldDescriptor::CPPTYPE_ENUM:
      return fmt::format("one of {}", fmt::join(value_names(*field.enum_type()), ", "));
    case FieldDescriptor::CPPTYPE_STRING:
      return "text";
    case FieldDescriptor::CPPTYPE_MESSAGE:
      return "a mapping of fields";
    default:
      MOLORA_CHECK(false, "type of {}", std::string(field.full_name()));
  }
  return {};
}

std::string bounds_text(const FieldRule& bounds) {
  std::string low;
  if (bounds.has_min()) low = fmt::format("at least {}", bounds.min());
  if (bounds.has_above()) low = fmt::format("above {}", bounds.above());
  std::string high;
  if (bounds.has_max()) high = fmt::format("at most {}", bounds.max());
  if (bounds.has_below()) high = fmt::format("below {}", bounds.below());
  if (low.empty() || high.empty()) return low + high;
  return fmt::format("{} and {}", low, high);
}

std::vector<std::string> value_names(const google::protobuf::EnumDescriptor& type) {
  std::vector<std::string> names;
  names.reserve(static_cast<size_t>(type.value_count()));
  for (int i = 0; i < type.value_count(); ++i) names.emplace_back(type.value(i)->name());
  return names;
}

std::vector<std::string> field_names(const Descriptor& message) {
  std::vector<std::string> names;
  names.reserve(static_cast<size_t>(message.field_count()));
  for (int i = 0; i < message.field_count(); ++i) names.emplace_back(message.field(i)->name());
  return names;
}

const FieldDescriptor* shorthand_field(const Descriptor& message) {
  const FieldDescriptor* only = nullptr;
  for (int i = 0; i < message.field_count(); ++i) {
    const FieldDescriptor& field = *message.field(i);
    if (!rule_of(field).required()) continue;
    if (only != nullptr) return nullptr;
    only = &field;
  }
  return only;
}

std::vector<SchemaField> all_fields(const Descriptor& message) {
  std::vector<SchemaField> all;
  append_fields(message, {}, all);
  return all;
}

void fill_defaults(google::protobuf::Message& message) {
  const google::protobuf::Reflection& reflection = *message.GetReflection();
  const Descriptor& type = *message.GetDescriptor();
  for (int i = 0; i < type.field_count(); ++i) {
    const FieldDescriptor& field = *type.field(i);
    if (field.is_repeated()) {
      if (!is_message(field)) continue;
      for (int item = 0; item < reflection.FieldSize(message, &field); ++item) {
        fill_defaults(*reflection.MutableRepeatedMessage(&message, &field, item));
      }
    } else if (is_message(field)) {
      fill_defaults(*reflection.MutableMessage(&message, &field));
    } else if (!reflection.HasField(message, &field)) {
      set_to_default(message, field);
    }
  }
}

}  // namespace molora
