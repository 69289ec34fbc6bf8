// Which part of a dimension a rank holds: slice arithmetic, without communication.
#pragma once

#include <algorithm>
#include <cstdint>
#include <vector>

#include "base/check.h"

namespace molora {

// A range of one dimension.
struct Slice {
  int64_t begin = 0;
  int64_t length = 0;
  int64_t end() const { return begin + length; }
  bool operator==(const Slice&) const = default;
};

// Part `index` of `total` cut into `parts` neighbouring parts whose lengths differ by at most one,
// the longer ones first. For tokens and vocabulary rows: any total, also fewer than parts.
inline Slice balanced_slice(int64_t total, int64_t parts, int64_t index) {
  MOLORA_CHECK(parts > 0 && index >= 0 && index < parts, "part {} of {}", index, parts);
  const int64_t shorter = total / parts;
  const int64_t longer_parts = total % parts;
  return {index * shorter + std::min(index, longer_parts),
          shorter + (index < longer_parts ? 1 : 0)};
}

// The same where all parts must be equal. For weights. REQUIRES: parts divides total.
inline Slice even_slice(int64_t total, int64_t parts, int64_t index) {
  MOLORA_CHECK(total % parts == 0, "{} in {} parts", total, parts);
  return balanced_slice(total, parts, index);
}

// The lengths of all balanced parts, in order.
inline std::vector<int64_t> balanced_lengths(int64_t total, int64_t parts) {
  std::vector<int64_t> lengths;
  for (int64_t i = 0; i < parts; ++i) lengths.push_back(balanced_slice(total, parts, i).length);
  return lengths;
}

// The key-value heads of tp rank `tp_rank`: an even part, or one head that tp / kv_heads
// neighbouring ranks hold alike. REQUIRES: one of the two numbers divides the other.
inline Slice kv_head_slice(int64_t kv_heads, int64_t tp, int64_t tp_rank) {
  if (kv_heads >= tp) return even_slice(kv_heads, tp, tp_rank);
  MOLORA_CHECK(tp % kv_heads == 0, "{} key-value heads over {} ranks", kv_heads, tp);
  return {tp_rank / (tp / kv_heads), 1};
}

}  // namespace molora
