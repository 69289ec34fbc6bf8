#include "config/override.h"

#include <algorithm>
#include <charconv>
#include <optional>
#include <string_view>
#include <system_error>
#include <utility>
#include <vector>

#include <fmt/format.h>

#include "config/name_hint.h"
#include "config/schema.h"
#include "config/shorthand.h"

namespace molora {

namespace {

// One part of a dotted name: train, or train[0].
struct Step {
  std::string name;
  std::optional<size_t> index;
};

std::optional<Step> parse_step(std::string_view text) {
  const size_t bracket = text.find('[');
  Step step{std::string(text.substr(0, bracket)), std::nullopt};
  if (step.name.empty()) return std::nullopt;
  if (bracket == std::string_view::npos) return step;
  size_t index = 0;
  const char* const end = text.data() + text.size();
  const auto [rest, code] = std::from_chars(text.data() + bracket + 1, end, index);
  if (code != std::errc() || std::string_view(rest, static_cast<size_t>(end - rest)) != "]") {
    return std::nullopt;
  }
  step.index = index;
  return step;
}

// Nothing when the name is not of the form a.b[0].c.
std::optional<std::vector<Step>> parse_name(std::string_view name) {
  std::vector<Step> steps;
  for (size_t begin = 0; begin <= name.size();) {
    const size_t end = std::min(name.find('.', begin), name.size());
    const auto step = parse_step(name.substr(begin, end - begin));
    if (!step) return std::nullopt;
    steps.push_back(*step);
    begin = end + 1;
  }
  return steps;
}

// Finds the node that a name means, and makes what is missing on the way.
class OverrideTarget {
 public:
  OverrideTarget(size_t source, Faults& faults) : place_{source, 0}, faults_(faults) {}

  // nullptr when there is no such place; the reason is in the faults, or will be when the file's
  // own value, which has the wrong type, is read.
  YamlNode* find(YamlNode& tree, const std::vector<Step>& steps) {
    YamlNode* node = &tree;
    const Descriptor* type = RunConfig::descriptor();
    std::string name;
    for (size_t i = 0; i < steps.size(); ++i) {
      const FieldDescriptor* field = type->FindFieldByName(steps[i].name);
      if (field == nullptr) {
        return refuse(join_name(name, steps[i].name),
                      "no such field" + name_hint(*type, name, steps[i].name));
      }
      name = join_name(name, steps[i].name);
      const bool is_last = i + 1 == steps.size();
      if (!check_step(*field, name, steps[i], is_last)) return nullptr;
      node = child(*node, steps[i].name);
      if (node == nullptr) return nullptr;
      if (steps[i].index) {
        node = item(*node, name, *steps[i].index);
        if (node == nullptr) return nullptr;
        name += fmt::format("[{}]", *steps[i].index);
      }
      type = field->message_type();
    }
    return node;
  }

 private:
  YamlNode* refuse(const std::string& name, const std::string& what) {
    faults_.add(place_, name, what);
    return nullptr;
  }

  bool check_step(const FieldDescriptor& field, const std::string& name, const Step& step,
                  bool is_last) {
    std::string fault;
    if (step.index && !field.is_repeated()) {
      fault = fmt::format("is not a list, got the index [{}]", *step.index);
    } else if (!is_last && !is_message(field)) {
      fault = "has no fields in it";
    } else if (!is_last && field.is_repeated() && !step.index) {
      fault = fmt::format("is a list, expected an index: {}[0]", name);
    }
    if (!fault.empty()) refuse(name, fault);
    return fault.empty();
  }

  YamlNode made() const {
    YamlNode node;
    node.place = place_;
    return node;
  }

  YamlNode* child(YamlNode& node, const std::string& key) {
    if (node.is_null()) node.kind = YamlNode::Kind::kMap;
    if (!node.is_map()) return nullptr;
    if (YamlNode* found = node.find(key)) return found;
    node.children.push_back(made());
    node.children.back().key = key;
    return &node.children.back();
  }

  YamlNode* item(YamlNode& node, const std::string& name, size_t index) {
    if (node.is_null()) node.kind = YamlNode::Kind::kList;
    if (!node.is_list()) return nullptr;
    const size_t size = node.children.size();
    if (index > size) {
      return refuse(name, fmt::format("has {} item{}, expected an index of at most {}, got [{}]",
                                      size, size == 1 ? "" : "s", size, index));
    }
    if (index == size) node.children.push_back(made());
    return &node.children[index];
  }

  Place place_;
  Faults& faults_;
};

void set_places(YamlNode& node, const Place& place) {
  node.place = place;
  for (YamlNode& child : node.children) set_places(child, place);
}

// The value behind the equals sign. Without value, and with a fault, when it is not YAML, or when
// YAML takes only a part of it for the value: a # in it, as a rule.
std::optional<YamlNode> parse_value(std::string_view text, const YamlOrigin& origin,
                                    Faults& faults) {
  auto value = parse_yaml(text, origin, faults);
  const size_t begin = std::min(text.find_first_not_of(" \t\n"), text.size());
  const size_t end = text.find_last_not_of(" \t\n") + 1;
  if (!value || !value->is_scalar() || value->is_quoted) return value;
  if (value->text == text.substr(begin, end - begin)) return value;
  faults.add(
      {origin.source, 0}, origin.field,
      fmt::format("expected the value in quotes, as YAML reads only {}", in_quotes(value->text)));
  return std::nullopt;
}

}  // namespace

void apply_override(YamlNode& tree, const std::string& text, size_t source, Faults& faults) {
  const Place place{source, 0};
  const size_t equals = text.find('=');
  const auto steps = parse_name(std::string_view(text).substr(0, equals));
  if (equals == std::string::npos || !steps) {
    faults.add(place, "",
               "expected NAME=VALUE, where NAME is like train.max_steps or data.train[0].path");
    return;
  }
  auto value = parse_value(std::string_view(text).substr(equals + 1),
                           {source, text.substr(0, equals)}, faults);
  if (!value) {
    YamlNode unused = tree;  // the name is checked all the same
    OverrideTarget(source, faults).find(unused, *steps);
    return;
  }
  YamlNode* target = OverrideTarget(source, faults).find(tree, *steps);
  if (target == nullptr) return;
  set_places(*value, place);
  value->key = target->key;
  merge_yaml(*target, std::move(*value));
  spell_out(tree, *RunConfig::descriptor());
}

}  // namespace molora
