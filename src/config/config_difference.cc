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

constexpr char kNone[] = "(none)";

struct Leaf {
  std::string name;
  std::string text;
  bool is_free = false;
};

// The leaves of a message, in the order of the schema.
class Leaves {
 public:
  explicit Leaves(const RunConfig& config) { append(config, "", false); }
  const std::vector<Leaf>& all() const { return all_; }
  const Leaf* find(const std::string& name) const {
    const auto found =
        std::find_if(all_.begin(), all_.end(), [&](const Leaf& leaf) { return leaf.name == name; });
    return found == all_.end() ? nullptr : &*found;
  }

 private:
  // `is_free`: everything in the message may change at a resume.
  void append(const Message& message, const std::string& around, bool is_free) {
    const Descriptor& type = *message.GetDescriptor();
    for (int i = 0; i < type.field_count(); ++i) {
      const FieldDescriptor& field = *type.field(i);
      append_field(message, field, join_name(around, field.name()),
                   is_free || rule_of(field).free_at_resume());
    }
  }

  void append_field(const Message& message, const FieldDescriptor& field, const std::string& name,
                    bool is_free) {
    const google::protobuf::Reflection& reflection = *message.GetReflection();
    if (!field.is_repeated()) {
      if (is_message(field)) {
        append(reflection.GetMessage(message, &field), name, is_free);
      } else {
        all_.push_back({name, field_text(message, field), is_free});
      }
      return;
    }
    for (int item = 0; item < reflection.FieldSize(message, &field); ++item) {
      const std::string item_name = fmt::format("{}[{}]", name, item);
      if (is_message(field)) {
        append(reflection.GetRepeatedMessage(message, &field, item), item_name, is_free);
      } else {
        all_.push_back({item_name, item_text(message, field, item), is_free});
      }
    }
  }

  std::vector<Leaf> all_;
};

}  // namespace

std::vector<ConfigValue> config_values(const RunConfig& config) {
  std::vector<ConfigValue> values;
  const Leaves leaves(config);
  for (const Leaf& leaf : leaves.all()) values.push_back({leaf.name, leaf.text});
  return values;
}

std::vector<ConfigChange> config_changes(const RunConfig& a, const RunConfig& b) {
  const Leaves before(a);
  const Leaves after(b);
  std::vector<ConfigChange> changes;
  for (const Leaf& leaf : before.all()) {
    const Leaf* other = after.find(leaf.name);
    if (other != nullptr && other->text == leaf.text) continue;
    changes.push_back({leaf.name, leaf.text, other == nullptr ? kNone : other->text, leaf.is_free});
  }
  for (const Leaf& leaf : after.all()) {
    if (before.find(leaf.name) == nullptr) {
      changes.push_back({leaf.name, kNone, leaf.text, leaf.is_free});
    }
  }
  return changes;
}

std::string change_text(const ConfigChange& change) {
  return fmt::format("{}: {} -> {}", change.name, change.before, change.after);
}

std::vector<std::string> config_difference(const RunConfig& a, const RunConfig& b) {
  std::vector<std::string> lines;
  for (const ConfigChange& change : config_changes(a, b)) lines.push_back(change_text(change));
  return lines;
}

}  // namespace molora
