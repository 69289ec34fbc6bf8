#include "config/shorthand.h"

#include <string>
#include <utility>

namespace molora {

namespace {

// Puts `node` into a new list or mapping that takes its place.
void wrap(YamlNode& node, YamlNode::Kind kind, const std::string& key) {
  YamlNode around;
  around.kind = kind;
  around.place = node.place;
  around.key = std::exchange(node.key, key);
  around.children.push_back(std::move(node));
  node = std::move(around);
}

void spell_out_list(YamlNode& list, const FieldDescriptor& field) {
  if (list.is_null()) return;
  if (!list.is_list()) wrap(list, YamlNode::Kind::kList, "");
  if (!is_message(field)) return;
  const FieldDescriptor* text_field = shorthand_field(*field.message_type());
  for (YamlNode& item : list.children) {
    if (item.is_scalar() && text_field != nullptr) {
      wrap(item, YamlNode::Kind::kMap, std::string(text_field->name()));
    }
    spell_out(item, *field.message_type());
  }
}

}  // namespace

void spell_out(YamlNode& tree, const Descriptor& message) {
  if (!tree.is_map()) return;
  for (YamlNode& child : tree.children) {
    const FieldDescriptor* field = message.FindFieldByName(child.key);
    if (field == nullptr) continue;
    if (field->is_repeated()) {
      spell_out_list(child, *field);
    } else if (is_message(*field)) {
      spell_out(child, *field->message_type());
    }
  }
}

}  // namespace molora
