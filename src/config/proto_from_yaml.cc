#include "config/proto_from_yaml.h"

#include <limits>
#include <string>

#include <fmt/format.h>
#include <google/protobuf/message.h>

#include "base/check.h"
#include "base/nearest_name.h"
#include "config/field_rules.h"
#include "config/name_hint.h"
#include "config/scalar_value.h"
#include "config/schema.h"

namespace molora {

namespace {

using google::protobuf::Message;

class MessageReader {
 public:
  MessageReader(FieldPlaces& places, Faults& faults) : places_(places), faults_(faults) {}

  void read(const YamlNode& node, const std::string& name, Message& message) {
    if (node.is_null()) return;  // a section whose lines are all comments
    if (!node.is_map()) {
      faults_.add(node.place, name, "expected a mapping of fields, got " + shown(node));
      return;
    }
    const Descriptor& type = *message.GetDescriptor();
    for (const YamlNode& child : node.children) {
      if (faults_.is_full()) return;
      const std::string child_name = join_name(name, child.key);
      const FieldDescriptor* field = type.FindFieldByName(child.key);
      if (field == nullptr) {
        faults_.add(child.place, join_name(name, child.key.empty() ? "''" : child.key),
                    "no such field" + name_hint(type, name, child.key));
        continue;
      }
      places_.set(child_name, child.place);
      if (field->is_repeated()) {
        read_list(child, child_name, message, *field);
      } else if (is_message(*field)) {
        read(child, child_name, *message.GetReflection()->MutableMessage(&message, field));
      } else {
        read_scalar(child, child_name, message, *field);
      }
    }
  }

 private:
  void read_list(const YamlNode& node, const std::string& name, Message& message,
                 const FieldDescriptor& field) {
    if (node.is_null()) {
      faults_.add(node.place, name, "expected a list, got nothing; write [] for an empty one");
      return;
    }
    MOLORA_CHECK(node.is_list(), "{}", name);
    for (size_t i = 0; i < node.children.size() && !faults_.is_full(); ++i) {
      const YamlNode& item = node.children[i];
      const std::string item_name = fmt::format("{}[{}]", name, i);
      places_.set(item_name, item.place);
      read_item(item, item_name, message, field);
    }
  }

  void read_item(const YamlNode& node, const std::string& name, Message& message,
                 const FieldDescriptor& field) {
    const google::protobuf::Reflection& reflection = *message.GetReflection();
    if (!is_message(field)) {
      return read_scalar_item(node, name, message, field);
    }
    // Added even when it is faulty, so that the items keep the indices that the file gives them.
    Message& item = *reflection.AddMessage(&message, &field);
    if (node.is_map()) {
      read(node, name, item);
      return;
    }
    const FieldDescriptor* text_field = shorthand_field(*field.message_type());
    const std::string text =
        text_field == nullptr ? "" : fmt::format("a {} or ", text_field->name());
    faults_.add(node.place, name,
                fmt::format("expected {}a mapping of fields, got {}", text, shown(node)));
  }

  void read_scalar_item(const YamlNode& node, const std::string& name, Message& message,
                        const FieldDescriptor& field) {
    const google::protobuf::Reflection& reflection = *message.GetReflection();
    if (field.cpp_type() == FieldDescriptor::CPPTYPE_UINT32) {
      const auto number = read_whole_number(node, std::numeric_limits<uint32_t>::max());
      if (!accept(number, node, name, field)) return;
      return reflection.AddUInt32(&message, &field, static_cast<uint32_t>(number.value));
    }
    if (field.cpp_type() == FieldDescriptor::CPPTYPE_UINT64) {
      const auto number = read_whole_number(node, std::numeric_limits<uint64_t>::max());
      if (!accept(number, node, name, field)) return;
      return reflection.AddUInt64(&message, &field, number.value);
    }
    MOLORA_CHECK(field.cpp_type() == FieldDescriptor::CPPTYPE_STRING, "{}", name);
    const auto text = read_text(node);
    if (accept(text.fault, node, name)) reflection.AddString(&message, &field, text.value);
  }

  void read_scalar(const YamlNode& node, const std::string& name, Message& message,
                   const FieldDescriptor& field) {
    const google::protobuf::Reflection& reflection = *message.GetReflection();
    switch (field.cpp_type()) {
      case FieldDescriptor::CPPTYPE_UINT32: {
        const auto number = read_whole_number(node, std::numeric_limits<uint32_t>::max());
        if (!accept(number, node, name, field)) return;
        return reflection.SetUInt32(&message, &field, static_cast<uint32_t>(number.value));
      }
      case FieldDescriptor::CPPTYPE_UINT64: {
        const auto number = read_whole_number(node, std::numeric_limits<uint64_t>::max());
        if (!accept(number, node, name, field)) return;
        return reflection.SetUInt64(&message, &field, number.value);
      }
      case FieldDescriptor::CPPTYPE_DOUBLE: {
        const auto number = read_number(node);
        if (!accept(number, node, name, field)) return;
        return reflection.SetDouble(&message, &field, number.value);
      }
      case FieldDescriptor::CPPTYPE_BOOL: {
        const auto flag = read_flag(node);
        if (!accept(flag.fault, node, name)) return;
        return reflection.SetBool(&message, &field, flag.value);
      }
      case FieldDescriptor::CPPTYPE_STRING: {
        const auto text = read_text(node);
        if (!accept(text.fault, node, name)) return;
        return reflection.SetString(&message, &field, text.value);
      }
      case FieldDescriptor::CPPTYPE_ENUM:
        return read_enum(node, name, message, field);
      default:
        MOLORA_CHECK(false, "type of {}", name);
    }
  }

  void read_enum(const YamlNode& node, const std::string& name, Message& message,
                 const FieldDescriptor& field) {
    const google::protobuf::EnumDescriptor& type = *field.enum_type();
    const auto* value = node.is_scalar() ? type.FindValueByName(node.text) : nullptr;
    if (value != nullptr) {
      message.GetReflection()->SetEnum(&message, &field, value);
      return;
    }
    const std::string near =
        node.is_scalar() ? nearest_name(node.text, value_names(type)) : std::string();
    faults_.add(node.place, name,
                fmt::format("expected {}, got {}", expected_text(field), shown(node)) +
                    (near.empty() ? "" : fmt::format("; did you mean '{}'?", near)));
  }

  bool accept(const std::string& fault, const YamlNode& node, const std::string& name) {
    if (!fault.empty()) faults_.add(node.place, name, fault);
    return fault.empty();
  }

  template <typename Number>
  bool accept(const ScalarValue<Number>& number, const YamlNode& node, const std::string& name,
              const FieldDescriptor& field) {
    if (!accept(number.fault, node, name)) return false;
    return accept(bounds_fault(field, static_cast<double>(number.value), node.text), node, name);
  }

  FieldPlaces& places_;
  Faults& faults_;
};

}  // namespace

RunConfig read_run_config(const YamlNode& tree, FieldPlaces& places, Faults& faults) {
  RunConfig config;
  read_message(tree, config, places, faults);
  return config;
}

void read_message(const YamlNode& tree, Message& message, FieldPlaces& places, Faults& faults) {
  MessageReader(places, faults).read(tree, "", message);
}

}  // namespace molora
