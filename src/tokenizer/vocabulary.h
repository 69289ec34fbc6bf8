// The tokens of a tokenizer: ids, texts, and which of them are special.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "tokenizer/tokenizer.h"
#include "tokenizer/word_table.h"

namespace molora {

// The largest id that is believed; beyond it a file is damaged.
inline constexpr uint64_t kMaxTokenId = (uint64_t{1} << 22) - 1;

// Immutable once filled.
class Vocabulary {
 public:
  // REQUIRES: 0 <= id <= kMaxTokenId has no token yet.
  void insert(TokenId id, std::string_view text);
  void mark_special(TokenId id);
  // What decoding writes for the token where that is not its text.
  void set_decoded_text(TokenId id, std::string_view text);

  bool contains(TokenId id) const { return entry_of(id) != nullptr; }
  std::optional<TokenId> find(std::string_view text) const { return ids_.find(text); }
  // Tokens, not ids: ids may have gaps.
  size_t size() const { return entries_.size(); }
  TokenId end_id() const { return static_cast<TokenId>(entry_of_id_.size()); }
  bool is_special(TokenId id) const;
  // The token's text. REQUIRES: contains(id).
  const std::string& text(TokenId id) const;
  // What decoding writes for the token; nullptr for an unknown id.
  const std::string* decoded_text(TokenId id) const;

 private:
  struct Entry {
    std::string text;
    std::optional<std::string> decoded;
    bool special = false;
  };
  const Entry* entry_of(TokenId id) const;
  Entry& entry_at(TokenId id);

  std::vector<Entry> entries_;
  std::vector<int32_t> entry_of_id_;  // -1: no token has this id
  WordTable ids_;
};

}  // namespace molora
