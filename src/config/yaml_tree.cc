#include "config/yaml_tree.h"

#include <sstream>
#include <utility>

#include <fmt/format.h>
#include <yaml-cpp/exceptions.h>
#include <yaml-cpp/parser.h>

#include "config/text_check.h"
#include "config/yaml_tree_builder.h"

namespace molora {

const YamlNode* YamlNode::find(std::string_view name) const {
  if (!is_map()) return nullptr;
  for (const YamlNode& child : children) {
    if (child.key == name) return &child;
  }
  return nullptr;
}

YamlNode* YamlNode::find(std::string_view name) {
  return const_cast<YamlNode*>(std::as_const(*this).find(name));
}

std::string shown(const YamlNode& node) {
  switch (node.kind) {
    case YamlNode::Kind::kNull:
      return "nothing";
    case YamlNode::Kind::kScalar:
      return node.is_quoted ? in_quotes(node.text) + " in quotes" : in_quotes(node.text);
    case YamlNode::Kind::kList:
      return "a list";
    case YamlNode::Kind::kMap:
      return "a mapping";
  }
  return "?";
}

std::optional<YamlNode> parse_yaml(std::string_view text, const YamlOrigin& origin,
                                   Faults& faults) {
  if (const auto fault = find_text_fault(text)) {
    faults.add({origin.source, fault->line}, origin.field, fault->what);
    return std::nullopt;
  }
  std::istringstream stream{std::string(text)};
  YamlTreeBuilder builder(origin, faults);
  try {
    YAML::Parser parser(stream);
    if (parser.HandleNextDocument(builder) && parser.HandleNextDocument(builder)) {
      faults.add({origin.source, 0}, origin.field, "expected one YAML document, got several");
      return std::nullopt;
    }
  } catch (const YAML::Exception& error) {
    faults.add({origin.source, error.mark.line + 1}, origin.field,
               fmt::format("not valid YAML at column {}: {}", error.mark.column + 1, error.msg));
    return std::nullopt;
  }
  return builder.take_tree();
}

void merge_yaml(YamlNode& base, YamlNode over) {
  if (base.is_map() && over.is_null()) return;
  if (!base.is_map() || !over.is_map()) {
    base = std::move(over);
    return;
  }
  for (YamlNode& child : over.children) {
    if (YamlNode* found = base.find(child.key)) {
      merge_yaml(*found, std::move(child));
    } else {
      base.children.push_back(std::move(child));
    }
  }
}

}  // namespace molora
