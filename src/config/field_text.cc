#include "config/field_text.h"

#include <fmt/format.h>

#include "base/check.h"

namespace molora {

std::string yaml_text(const std::string& text) {
  std::string result = "\"";
  for (const char c : text) {
    const auto byte = static_cast<unsigned char>(c);
    if (c == '"' || c == '\\') {
      result += '\\';
      result += c;
    } else if (c == '\n') {
      result += "\\n";
    } else if (c == '\t') {
      result += "\\t";
    } else if (byte < 0x20 || byte == 0x7f) {
      result += fmt::format("\\x{:02x}", byte);
    } else {
      result += c;
    }
  }
  return result + '"';
}

std::string field_text(const google::protobuf::Message& message, const FieldDescriptor& field) {
  const google::protobuf::Reflection& reflection = *message.GetReflection();
  switch (field.cpp_type()) {
    case FieldDescriptor::CPPTYPE_UINT32:
      return fmt::to_string(reflection.GetUInt32(message, &field));
    case FieldDescriptor::CPPTYPE_UINT64:
      return fmt::to_string(reflection.GetUInt64(message, &field));
    case FieldDescriptor::CPPTYPE_DOUBLE:
      return fmt::format("{}", reflection.GetDouble(message, &field));
    case FieldDescriptor::CPPTYPE_BOOL:
      return reflection.GetBool(message, &field) ? "true" : "false";
    case FieldDescriptor::CPPTYPE_ENUM:
      return std::string(reflection.GetEnum(message, &field)->name());
    case FieldDescriptor::CPPTYPE_STRING:
      return yaml_text(reflection.GetString(message, &field));
    default:
      MOLORA_CHECK(false, "type of {}", std::string(field.full_name()));
  }
  return {};
}

std::string item_text(const google::protobuf::Message& message, const FieldDescriptor& field,
                      int item) {
  const google::protobuf::Reflection& reflection = *message.GetReflection();
  if (field.cpp_type() == FieldDescriptor::CPPTYPE_UINT32) {
    return fmt::to_string(reflection.GetRepeatedUInt32(message, &field, item));
  }
  if (field.cpp_type() == FieldDescriptor::CPPTYPE_UINT64) {
    return fmt::to_string(reflection.GetRepeatedUInt64(message, &field, item));
  }
  return yaml_text(reflection.GetRepeatedString(message, &field, item));
}

}  // namespace molora
