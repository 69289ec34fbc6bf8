#include "worker/progress_changes.h"

#include <fmt/format.h>
#include <google/protobuf/descriptor.h>
#include <google/protobuf/message.h>

#include "base/check.h"

namespace molora {

namespace {

using google::protobuf::FieldDescriptor;

std::string number_text(const Progress& progress, const FieldDescriptor& field) {
  const google::protobuf::Reflection& reflection = *progress.GetReflection();
  if (!reflection.HasField(progress, &field)) return "(none)";
  if (field.cpp_type() == FieldDescriptor::CPPTYPE_INT64) {
    return fmt::to_string(reflection.GetInt64(progress, &field));
  }
  MOLORA_CHECK(field.cpp_type() == FieldDescriptor::CPPTYPE_DOUBLE, "type of {}",
               std::string(field.full_name()));
  return fmt::format("{}", reflection.GetDouble(progress, &field));
}

std::string message_bytes(const Progress& progress, const FieldDescriptor& field) {
  return progress.GetReflection()->GetMessage(progress, &field).SerializeAsString();
}

}  // namespace

std::vector<std::string> progress_changes(const Progress& a, const Progress& b) {
  std::vector<std::string> lines;
  const google::protobuf::Descriptor& type = *Progress::descriptor();
  for (int i = 0; i < type.field_count(); ++i) {
    const FieldDescriptor& field = *type.field(i);
    if (field.is_repeated()) continue;
    if (field.cpp_type() == FieldDescriptor::CPPTYPE_MESSAGE) {
      if (message_bytes(a, field) != message_bytes(b, field)) {
        lines.push_back(fmt::format("{}: differs", std::string(field.name())));
      }
      continue;
    }
    const std::string before = number_text(a, field);
    const std::string after = number_text(b, field);
    if (before == after) continue;
    lines.push_back(fmt::format("{}: {} -> {}", std::string(field.name()), before, after));
  }
  return lines;
}

}  // namespace molora
