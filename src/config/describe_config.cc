#include "config/describe_config.h"

#include <sstream>
#include <string>

#include <fmt/format.h>

#include "config/field_text.h"
#include "config/schema.h"

namespace molora {

namespace {

using google::protobuf::Message;

constexpr size_t kWidth = 96;

// `text` as comment lines of at most kWidth characters, broken between words.
void append_comment(const std::string& indent, const std::string& text, std::string& out) {
  const std::string begin = indent + "#";
  std::string line = begin;
  std::istringstream words(text);
  for (std::string word; words >> word;) {
    if (line.size() + 1 + word.size() > kWidth && line != begin) {
      out += line + '\n';
      line = begin;
    }
    line += ' ' + word;
  }
  out += line + '\n';
}

enum class AtResume { kGuarded, kFree };

AtResume at_resume(const FieldDescriptor& field, AtResume around) {
  return rule_of(field).free_at_resume() ? AtResume::kFree : around;
}

// "a number above 0, default 0.0002".
std::string type_line(const FieldDescriptor& field, const std::string& default_text) {
  std::string text = expected_text(field);
  if (const std::string bounds = bounds_text(rule_of(field)); !bounds.empty()) text += ' ' + bounds;
  if (field.is_repeated()) text = fmt::format("a list, each item {}", text);
  if (rule_of(field).required()) return text + ", required";
  return fmt::format("{}, default {}", text, default_text);
}

void append_item_fields(const Descriptor& item, const std::string& indent, std::string& out) {
  const Message& defaults =
      *google::protobuf::MessageFactory::generated_factory()->GetPrototype(&item);
  if (const FieldDescriptor* text_field = shorthand_field(item)) {
    append_comment(indent,
                   fmt::format("An item may also be its {} alone. Its fields:", text_field->name()),
                   out);
  }
  for (int i = 0; i < item.field_count(); ++i) {
    const FieldDescriptor& field = *item.field(i);
    append_comment(indent,
                   fmt::format("- {}: {} ({})", field.name(), rule_of(field).doc(),
                               type_line(field, field_text(defaults, field))),
                   out);
  }
}

void append_message(const Message& message, const std::string& indent, AtResume around,
                    std::string& out) {
  const Descriptor& type = *message.GetDescriptor();
  for (int i = 0; i < type.field_count(); ++i) {
    const FieldDescriptor& field = *type.field(i);
    const std::string name(field.name());
    const AtResume resume = at_resume(field, around);
    if (i > 0) out += '\n';
    if (is_message(field) && !field.is_repeated()) {
      out += indent + name + ":\n";
      append_message(message.GetReflection()->GetMessage(message, &field), indent + "  ", resume,
                     out);
      continue;
    }
    const std::string value = field.is_repeated() ? "[]" : field_text(message, field);
    append_comment(indent, rule_of(field).doc(), out);
    append_comment(indent,
                   fmt::format("({}{})", type_line(field, value),
                               resume == AtResume::kFree ? "; may change at a resume" : ""),
                   out);
    if (is_message(field)) append_item_fields(*field.message_type(), indent, out);
    out += fmt::format("{}{}: {}\n", indent, name, value);
  }
}

}  // namespace

std::string describe_config() {
  std::string text;
  append_comment("",
                 "A run goes on from a checkpoint only with the checkpoint's values, or with "
                 "`molora train --allow-change`; fields that say so may change freely, for they "
                 "leave the trained numbers as they would have been.",
                 text);
  text += '\n';
  append_message(RunConfig::default_instance(), "", AtResume::kGuarded, text);
  return text;
}

}  // namespace molora
