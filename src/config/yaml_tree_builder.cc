#include "config/yaml_tree_builder.h"

#include <algorithm>
#include <utility>

#include <fmt/format.h>
#include <yaml-cpp/exceptions.h>

#include "config/schema.h"

namespace molora {

namespace {

size_t count_values(const YamlNode& node) {
  size_t count = 1;
  for (const YamlNode& child : node.children) count += count_values(child);
  return count;
}

size_t depth_of(const YamlNode& node) {
  size_t deepest = 0;
  for (const YamlNode& child : node.children) deepest = std::max(deepest, depth_of(child));
  return deepest + 1;
}

}  // namespace

void YamlTreeBuilder::OnDocumentStart(const YAML::Mark& mark) {
  last_mark_ = mark;
  root_ = {};
  open_.clear();
  anchors_.clear();
}

void YamlTreeBuilder::OnNull(const YAML::Mark& mark, YAML::anchor_t anchor) {
  spend(mark, 1);
  YamlNode node;
  node.place = place_of(mark);
  deliver(std::move(node), anchor);
}

void YamlTreeBuilder::OnAlias(const YAML::Mark& mark, YAML::anchor_t anchor) {
  const auto found = anchors_.find(anchor);
  if (found == anchors_.end()) {
    throw YAML::ParserException(mark, "an alias (*name) stands inside the value that it names");
  }
  spend(mark, count_values(found->second));
  if (open_.size() + depth_of(found->second) > kMaxYamlDepth) {
    throw YAML::ParserException(mark, fmt::format("nested deeper than {} levels", kMaxYamlDepth));
  }
  YamlNode node = found->second;
  node.place = place_of(mark);
  deliver(std::move(node), 0);
}

void YamlTreeBuilder::OnScalar(const YAML::Mark& mark, const std::string& tag,
                               YAML::anchor_t anchor, const std::string& value) {
  refuse_tag(mark, tag);
  spend(mark, 1);
  YamlNode node;
  node.kind = YamlNode::Kind::kScalar;
  node.place = place_of(mark);
  node.text = value;
  node.is_quoted = tag == "!";
  deliver(std::move(node), anchor);
}

void YamlTreeBuilder::OnSequenceStart(const YAML::Mark& mark, const std::string& tag,
                                      YAML::anchor_t anchor, YAML::EmitterStyle::value) {
  refuse_tag(mark, tag);
  open(mark, anchor, YamlNode::Kind::kList);
}

void YamlTreeBuilder::OnMapStart(const YAML::Mark& mark, const std::string& tag,
                                 YAML::anchor_t anchor, YAML::EmitterStyle::value) {
  refuse_tag(mark, tag);
  open(mark, anchor, YamlNode::Kind::kMap);
}

void YamlTreeBuilder::open(const YAML::Mark& mark, YAML::anchor_t anchor, YamlNode::Kind kind) {
  spend(mark, 1);
  if (open_.size() >= kMaxYamlDepth) {
    throw YAML::ParserException(mark, fmt::format("nested deeper than {} levels", kMaxYamlDepth));
  }
  Open container;
  container.node.kind = kind;
  container.node.place = place_of(mark);
  container.anchor = anchor;
  open_.push_back(std::move(container));
}

void YamlTreeBuilder::close() {
  Open done = std::move(open_.back());
  open_.pop_back();
  deliver(std::move(done.node), done.anchor);
}

void YamlTreeBuilder::deliver(YamlNode node, YAML::anchor_t anchor) {
  if (anchor != 0) {
    spend(last_mark_, count_values(node));
    anchors_[anchor] = node;
  }
  if (open_.empty()) {
    root_ = std::move(node);
    return;
  }
  Open& around = open_.back();
  if (around.node.is_list()) {
    around.node.children.push_back(std::move(node));
  } else if (!around.has_key) {
    take_key(around, node);
  } else {
    around.has_key = false;
    if (std::exchange(around.drops_value, false)) return;
    node.key = std::move(around.key);
    node.place = around.key_place;
    around.node.children.push_back(std::move(node));
  }
}

void YamlTreeBuilder::take_key(Open& map, const YamlNode& node) {
  map.has_key = true;
  map.key_place = node.place;
  if (!node.is_scalar()) {
    map.drops_value = true;
    map.key.clear();
    faults_.add(node.place, field(), "expected the name of a field, got " + shown(node));
    return;
  }
  map.key = node.text;
  const auto [first, is_new] = map.lines.emplace(node.text, node.place.line);
  if (is_new) return;
  map.drops_value = true;
  faults_.add(node.place, field(),
              fmt::format("stands twice, first in line {}; remove one", first->second));
}

void YamlTreeBuilder::refuse_tag(const YAML::Mark& mark, const std::string& tag) {
  if (tag.empty() || tag == "?" || tag == "!") return;
  faults_.add(place_of(mark), field(), fmt::format("expected no tag, got {}", in_quotes(tag)));
}

void YamlTreeBuilder::spend(const YAML::Mark& mark, size_t values) {
  last_mark_ = mark;
  values_ += values;
  if (values_ <= kMaxYamlValues) return;
  throw YAML::ParserException(
      mark, fmt::format("more than {} values, aliases counted as the copies that they make",
                        kMaxYamlValues));
}

std::string YamlTreeBuilder::field() const {
  std::string name = origin_.field;
  for (const Open& around : open_) {
    if (around.node.is_list()) {
      name += fmt::format("[{}]", around.node.children.size());
    } else if (around.has_key && !around.key.empty()) {
      name = join_name(name, around.key);
    }
  }
  return name;
}

}  // namespace molora
