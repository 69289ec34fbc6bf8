#include "config/resolved_yaml.h"

#include <string>
#include <vector>

#include "config/field_text.h"
#include "config/schema.h"

namespace molora {

namespace {

using google::protobuf::Message;
using Lines = std::vector<std::string>;

enum class Unset { kDefault, kLeftOut };

Lines message_lines(const Message& message, Unset unset);

// The lines of one item behind "- " and its continuation.
void append_item(const Lines& item, Lines& lines) {
  for (size_t i = 0; i < item.size(); ++i) lines.push_back((i == 0 ? "  - " : "    ") + item[i]);
}

void append_list(const Message& message, const FieldDescriptor& field, Unset unset, Lines& lines) {
  const google::protobuf::Reflection& reflection = *message.GetReflection();
  const int size = reflection.FieldSize(message, &field);
  if (size == 0 && unset == Unset::kLeftOut) return;
  lines.push_back(std::string(field.name()) + (size == 0 ? ": []" : ":"));
  for (int i = 0; i < size; ++i) {
    append_item(is_message(field)
                    ? message_lines(reflection.GetRepeatedMessage(message, &field, i), unset)
                    : Lines{item_text(message, field, i)},
                lines);
  }
}

Lines message_lines(const Message& message, Unset unset) {
  Lines lines;
  const Descriptor& type = *message.GetDescriptor();
  for (int i = 0; i < type.field_count(); ++i) {
    const FieldDescriptor& field = *type.field(i);
    const std::string name(field.name());
    if (field.is_repeated()) {
      append_list(message, field, unset, lines);
    } else if (unset == Unset::kLeftOut && !message.GetReflection()->HasField(message, &field)) {
      continue;
    } else if (is_message(field)) {
      lines.push_back(name + ":");
      for (const std::string& line :
           message_lines(message.GetReflection()->GetMessage(message, &field), unset)) {
        lines.push_back("  " + line);
      }
    } else {
      lines.push_back(name + ": " + field_text(message, field));
    }
  }
  return lines;
}

std::string joined(const Lines& lines) {
  std::string text;
  for (const std::string& line : lines) text += line + '\n';
  return text;
}

}  // namespace

std::string resolved_yaml(const RunConfig& config) {
  return joined(message_lines(config, Unset::kDefault));
}

std::string message_yaml(const Message& message) {
  return joined(message_lines(message, Unset::kLeftOut));
}

}  // namespace molora
