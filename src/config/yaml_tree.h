// YAML text as a tree of plain values that know the line they stand in.
//
// Built from the parser's events, not from its node graph, so that a key that stands twice is seen
// (the graph silently keeps one) and hostile text stays cheap: depth and number of values are
// bounded while the text is read, aliases counted as the copies they make.
#pragma once

#include <cstddef>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "config/faults.h"

namespace molora {

inline constexpr size_t kMaxYamlDepth = 64;
inline constexpr size_t kMaxYamlValues = 20'000;

struct YamlNode {
  enum class Kind { kNull, kScalar, kList, kMap };

  Kind kind = Kind::kNull;
  // In a mapping the line of the key, in a list the line of the item.
  Place place;
  std::string key;   // in a mapping
  std::string text;  // of a scalar
  bool is_quoted = false;
  std::vector<YamlNode> children;  // of a list or a mapping, in order; keys are unique

  bool is_null() const { return kind == Kind::kNull; }
  bool is_scalar() const { return kind == Kind::kScalar; }
  bool is_list() const { return kind == Kind::kList; }
  bool is_map() const { return kind == Kind::kMap; }
  // The child with this key; nullptr when there is none.
  const YamlNode* find(std::string_view name) const;
  YamlNode* find(std::string_view name);
};

// What a message says of a value found: "1.5", "a list", "nothing".
std::string shown(const YamlNode& node);

// Where a YAML text comes from: its source, and the field whose value it is (empty for a file).
struct YamlOrigin {
  size_t source = 0;
  std::string field;
};

// The tree of `text`. Nothing at all is a null node. Without value when the text cannot be read as
// one YAML document. What is wrong goes to `faults`; keys that stand twice or are no names are left
// out of the tree.
std::optional<YamlNode> parse_yaml(std::string_view text, const YamlOrigin& origin, Faults& faults);

// Lays `over` on top of `base`: mappings are merged key by key, everything else is replaced. A null
// in `over` leaves a mapping as it is.
void merge_yaml(YamlNode& base, YamlNode over);

}  // namespace molora
