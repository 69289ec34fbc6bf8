#include "config/field_rules.h"

#include <fmt/format.h>
#include <google/protobuf/message.h>

namespace molora {

namespace {

using google::protobuf::Message;

class RequiredFields {
 public:
  RequiredFields(ConfigUse use, const FieldPlaces& places, Faults& faults)
      : use_(use), places_(places), faults_(faults) {}

  void check(const Message& message, const std::string& around) {
    const google::protobuf::Reflection& reflection = *message.GetReflection();
    const Descriptor& type = *message.GetDescriptor();
    for (int i = 0; i < type.field_count(); ++i) {
      const FieldDescriptor& field = *type.field(i);
      const std::string name = join_name(around, field.name());
      if (use_ == ConfigUse::kModel && name != "model" && around != "model") continue;
      if (rule_of(field).required() && is_empty(message, field)) report(field, name, around);
      if (!is_message(field)) continue;
      if (!field.is_repeated()) {
        check(reflection.GetMessage(message, &field), name);
        continue;
      }
      for (int item = 0; item < reflection.FieldSize(message, &field); ++item) {
        check(reflection.GetRepeatedMessage(message, &field, item),
              fmt::format("{}[{}]", name, item));
      }
    }
  }

 private:
  static bool is_empty(const Message& message, const FieldDescriptor& field) {
    const google::protobuf::Reflection& reflection = *message.GetReflection();
    if (field.is_repeated()) return reflection.FieldSize(message, &field) == 0;
    return reflection.GetString(message, &field).empty();
  }

  void report(const FieldDescriptor& field, const std::string& name, const std::string& around) {
    if (faults_.covers(name)) return;
    const Place place = places_.nearest(name, faults_.sources());
    std::string_view meaning = rule_of(field).doc();
    if (meaning.ends_with('.')) meaning.remove_suffix(1);
    if (places_.is_set(name)) {
      faults_.add(place, name, fmt::format("is empty, expected: {}", meaning));
    } else {
      const std::string section = around.empty() ? "" : fmt::format(" under '{}:'", around);
      faults_.add(place, name,
                  fmt::format("is missing, expected: {}; write '{}:'{}, or --set {}=...", meaning,
                              std::string(field.name()), section, name));
    }
  }

  ConfigUse use_;
  const FieldPlaces& places_;
  Faults& faults_;
};

}  // namespace

std::string bounds_fault(const FieldDescriptor& field, double value, const std::string& text) {
  const FieldRule& bounds = rule_of(field);
  const bool is_low =
      (bounds.has_min() && value < bounds.min()) || (bounds.has_above() && value <= bounds.above());
  const bool is_high =
      (bounds.has_max() && value > bounds.max()) || (bounds.has_below() && value >= bounds.below());
  if (!is_low && !is_high) return {};
  return fmt::format("expected {} {}, got '{}'", expected_text(field), bounds_text(bounds), text);
}

void check_required(const RunConfig& config, ConfigUse use, const FieldPlaces& places,
                    Faults& faults) {
  RequiredFields(use, places, faults).check(config, "");
}

}  // namespace molora
