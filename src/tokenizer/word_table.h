// Hash tables that tokenization looks into once or more for every word: texts to ids, and pairs of
// ids to merges. Filled once, then read by any number of threads.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "tokenizer/tokenizer.h"

namespace molora {

// Texts to ids. Open addressing; at most half of the slots are in use.
class WordTable {
 public:
  // The id replaces an earlier one of the same text.
  void insert(std::string_view text, TokenId id);
  std::optional<TokenId> find(std::string_view text) const;
  size_t size() const { return size_; }

 private:
  struct Slot {
    uint32_t hash = 0;
    uint32_t offset = 0;
    uint32_t length = 0;
    TokenId id = -1;  // -1: empty
  };
  void grow();
  size_t slot_of(std::string_view text, uint32_t hash) const;

  std::string texts_;
  std::vector<Slot> slots_;
  size_t size_ = 0;
};

// What two neighbouring tokens become, and how early: the lower rank goes first.
struct Merge {
  uint32_t rank = UINT32_MAX;
  TokenId id = -1;
};

class MergeTable {
 public:
  // The merge replaces an earlier one of the same pair. REQUIRES: ids are not negative.
  void insert(TokenId left, TokenId right, Merge merge);
  // The rank UINT32_MAX when the two do not merge.
  Merge find(TokenId left, TokenId right) const {
    if (slots_.empty()) return {};
    const uint64_t key = key_of(left, right);
    const size_t mask = slots_.size() - 1;
    for (size_t i = hash_of(key) & mask;; i = (i + 1) & mask) {
      if (slots_[i].key == key) return slots_[i].merge;
      if (slots_[i].key == kEmpty) return {};
    }
  }

 private:
  static constexpr uint64_t kEmpty = UINT64_MAX;
  struct Slot {
    uint64_t key = kEmpty;
    Merge merge;
  };
  static uint64_t key_of(TokenId left, TokenId right) {
    return (uint64_t{static_cast<uint32_t>(left)} << 32) | static_cast<uint32_t>(right);
  }
  static size_t hash_of(uint64_t key) { return (key * 0x9E3779B97F4A7C15u) >> 32; }
  void grow();

  std::vector<Slot> slots_;
  size_t size_ = 0;
};

}  // namespace molora
