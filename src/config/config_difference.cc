#include "config/config_difference.h"

#include <algorithm>
#include <string>
#include <utility>
#include <vector>

#include <fmt/format.h>

#include "config/field_text.h"
#include "config/schema.h"

namespace molora {

namespace {

using google::protobuf::Message;

struct Leaf {
  std::string name;
  std::string text;
};

// The leaves of one field of `message`, in the order of the schema.
void append_leaves(const Message& message, const std::string& around, std::vector<Leaf>& leaves) {
  const google::protobuf::Reflection& reflection = *message.GetReflection();
  const Descriptor& type = *message.GetDescriptor();
  for (int i = 0; i < type.field_count(); ++i) {
    const FieldDescriptor& field = *type.field(i);
    const std::string name = join_name(around, field.name());
    if (!field.is_repeated()) {
      if (is_message(field)) {
        append_leaves(reflection.GetMessage(message, &field), name, leaves);
      } else {
        leaves.push_back({name, field_text(message, field)});
      }
      continue;
    }
    for (int item = 0; item < reflection.FieldSize(message, &field); ++item) {
      const std::string item_name = fmt::format("{}[{}]", name, item);
      if (is_message(field)) {
        append_leaves(reflection.GetRepeatedMessage(message, &field, item), item_name, leaves);
      } else {
        leaves.push_back({item_name, item_text(message, field, item)});
      }
    }
  }
}

std::vector<Leaf> leaves_of(const RunConfig& config) {
  std::vector<Leaf> leaves;
  append_leaves(config, "", leaves);
  return leaves;
}

const Leaf* find(const std::vector<Leaf>& leaves, const std::string& name) {
  const auto found = std::find_if(leaves.begin(), leaves.end(),
                                  [&](const Leaf& leaf) { return leaf.name == name; });
  return found == leaves.end() ? nullptr : &*found;
}

}  // namespace

std::vector<std::string> config_difference(const RunConfig& a, const RunConfig& b) {
  const std::vector<Leaf> before = leaves_of(a);
  const std::vector<Leaf> after = leaves_of(b);
  std::vector<std::string> lines;
  for (const Leaf& leaf : before) {
    const Leaf* other = find(after, leaf.name);
    if (other != nullptr && other->text == leaf.text) continue;
    lines.push_back(fmt::format("{}: {} -> {}", leaf.name, leaf.text,
                                other == nullptr ? "(none)" : other->text));
  }
  for (const Leaf& leaf : after) {
    if (find(before, leaf.name) != nullptr) continue;
    lines.push_back(fmt::format("{}: (none) -> {}", leaf.name, leaf.text));
  }
  return lines;
}

}  // namespace molora
