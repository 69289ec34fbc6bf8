// The handler of the YAML parser's events that builds a tree of YamlNode.
//
// Refusals that end the reading (too deep, too many values) are thrown as YAML::ParserException, so
// that the parser stops where it is; the rest goes to Faults and reading goes on.
#pragma once

#include <map>
#include <string>
#include <utility>
#include <vector>

#include <yaml-cpp/eventhandler.h>
#include <yaml-cpp/mark.h>

#include "config/yaml_tree.h"

namespace molora {

class YamlTreeBuilder : public YAML::EventHandler {
 public:
  // `faults` must outlive the builder.
  YamlTreeBuilder(YamlOrigin origin, Faults& faults)
      : origin_(std::move(origin)), faults_(faults) {}

  // The tree of the last document that was read whole. REQUIRES: called once.
  YamlNode take_tree() { return std::move(root_); }

  void OnDocumentStart(const YAML::Mark& mark) override;
  void OnDocumentEnd() override {}
  void OnNull(const YAML::Mark& mark, YAML::anchor_t anchor) override;
  void OnAlias(const YAML::Mark& mark, YAML::anchor_t anchor) override;
  void OnScalar(const YAML::Mark& mark, const std::string& tag, YAML::anchor_t anchor,
                const std::string& value) override;
  void OnSequenceStart(const YAML::Mark& mark, const std::string& tag, YAML::anchor_t anchor,
                       YAML::EmitterStyle::value style) override;
  void OnSequenceEnd() override { close(); }
  void OnMapStart(const YAML::Mark& mark, const std::string& tag, YAML::anchor_t anchor,
                  YAML::EmitterStyle::value style) override;
  void OnMapEnd() override { close(); }

 private:
  // A list or mapping that is being read.
  struct Open {
    YamlNode node;
    YAML::anchor_t anchor = 0;
    bool has_key = false;      // the next value belongs to `key`
    bool drops_value = false;  // ... and is dropped, because the key was refused
    std::string key;
    Place key_place;
    std::map<std::string, int> lines;  // of the keys so far
  };

  void open(const YAML::Mark& mark, YAML::anchor_t anchor, YamlNode::Kind kind);
  void close();
  // Hands a complete value to the container around it, or makes it the root.
  void deliver(YamlNode node, YAML::anchor_t anchor);
  void take_key(Open& map, const YamlNode& node);
  void refuse_tag(const YAML::Mark& mark, const std::string& tag);
  // Counts values against kMaxYamlValues.
  void spend(const YAML::Mark& mark, size_t values);
  Place place_of(const YAML::Mark& mark) const { return {origin_.source, mark.line + 1}; }
  // The dotted name of what is being read.
  std::string field() const;

  YamlOrigin origin_;
  Faults& faults_;
  YamlNode root_;
  std::vector<Open> open_;
  std::map<YAML::anchor_t, YamlNode> anchors_;
  YAML::Mark last_mark_;
  size_t values_ = 0;
};

}  // namespace molora
