// Byte pair encoding of one word: symbols that stand next to each other become one, the pair that
// was learned earliest first, until no learned pair is left.
//
// Source: R. Sennrich, B. Haddow, A. Birch, "Neural machine translation of rare words with subword
// units", 2016, arXiv 1508.07909. Ties go to the leftmost pair. Symbols are bytes (byte-level
// models) or characters, with the bytes of unknown characters as symbols of their own if the file
// says so.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "tokenizer/tokenizer.h"
#include "tokenizer/word_table.h"

namespace molora {

struct BpeOptions {
  bool byte_level = false;     // words are bytes, written in the vocabulary as ByteLevel maps them
  bool byte_fallback = false;  // an unknown character becomes the tokens "<0x..>" of its bytes
  bool fuse_unk = false;       // unknown characters in a row become one unknown token
  bool ignore_merges = false;  // a word that is in the vocabulary is that token, however it merges
  std::optional<TokenId> unk;  // unknown characters leave no trace when there is none
};

// Immutable once set up; encode_word() may be called from several threads, each with its own
// scratch.
class BpeModel {
 public:
  using Vocab = std::vector<std::pair<std::string, TokenId>>;

  BpeModel() = default;
  // Merges are added afterwards, in the order of their ranks.
  BpeModel(const Vocab& vocab, const BpeOptions& options);

  enum class Added { kYes, kLeftUnknown, kRightUnknown, kResultUnknown };
  // Both sides and the result must be in the vocabulary; else nothing is added and the first one
  // that is not is told.
  Added add_merge(std::string_view left, std::string_view right);
  // REQUIRES: called once after the last merge. `special` are the ids that ordinary text must not
  // become when special tokens are literal.
  void finish(const Vocab& vocab, const std::vector<TokenId>& special);

  // Memory that encode_word() needs; reuse saves allocations.
  struct Scratch {
    struct Symbol {
      TokenId id = -1;
      int32_t before = -1;
      int32_t after = -1;
    };
    struct Candidate {
      uint32_t rank = 0;
      int32_t position = 0;
      TokenId id = -1;
    };
    std::vector<TokenId> ids;
    std::vector<Merge> merges;
    std::vector<Symbol> symbols;
    std::vector<Candidate> heap;
  };
  // Appends the ids of `word` to `out`. With kLiteral no merge makes a special token.
  void encode_word(std::string_view word, SpecialTokens special, Scratch& scratch,
                   std::vector<TokenId>& out) const;

 private:
  void encode_segment(std::string_view word, SpecialTokens special, Scratch& scratch,
                      std::vector<TokenId>& out) const;
  void read_symbols(std::string_view word, std::vector<TokenId>& ids) const;
  void read_byte_symbols(std::string_view word, std::vector<TokenId>& ids) const;
  void read_character_symbols(std::string_view word, std::vector<TokenId>& ids) const;
  bool add_fallback_bytes(std::string_view character, std::vector<TokenId>& ids) const;
  Merge merge_of(TokenId left, TokenId right, SpecialTokens special) const;
  void merge_short(SpecialTokens special, Scratch& scratch) const;
  void merge_long(SpecialTokens special, Scratch& scratch) const;
  bool is_special(TokenId id) const {
    return static_cast<size_t>(id) < special_.size() && special_[static_cast<size_t>(id)];
  }

  BpeOptions options_;
  WordTable vocab_;        // every token as the file writes it
  WordTable whole_words_;  // words that are one token; for byte-level models in plain bytes
  MergeTable merges_;
  uint32_t num_merges_ = 0;
  std::array<TokenId, 256> byte_ids_{};      // byte-level: the token of each byte, or -1
  std::array<TokenId, 256> fallback_ids_{};  // "<0x00>" and on, or -1
  std::vector<bool> special_;
  bool cut_at_word_marks_ = false;
};

}  // namespace molora
