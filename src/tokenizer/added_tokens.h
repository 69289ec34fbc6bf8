// Tokens that are looked for in the text itself, before it is cut into words: special tokens and
// whatever a model added to its vocabulary.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "tokenizer/normalizer.h"
#include "tokenizer/tokenizer.h"

namespace molora {

struct AddedToken {
  std::string content;
  TokenId id = -1;
  bool single_word = false;  // not where a letter, digit or the like stands next to it
  bool lstrip = false;       // takes the white space before it along
  bool rstrip = false;       // and the white space after it
  bool normalized = false;   // looked for in the normalized text, not in the text as it is
  bool special = false;
};

// Immutable; may be used from several threads at once.
class AddedTokens {
 public:
  AddedTokens() = default;
  // `where` names the file in messages. Throws: DataError when two tokens read alike, or one is
  // nothing, after normalization.
  AddedTokens(const std::vector<AddedToken>& tokens, const Normalizer& normalizer,
              const std::string& where);

  // A piece of a text: a token, or text between tokens (id -1).
  struct Part {
    std::string_view text;
    TokenId id = -1;
  };
  // The pieces of `text`, never an empty one between tokens. At each place the longest token wins;
  // with kLiteral special tokens stay text. split_raw() finds the tokens that are not `normalized`,
  // split_normalized() the others.
  void split_raw(std::string_view text, SpecialTokens special, std::vector<Part>& parts) const;
  void split_normalized(std::string_view text, SpecialTokens special,
                        std::vector<Part>& parts) const;

 private:
  // Tokens as a tree of their bytes.
  class Tree {
   public:
    // False when the text is there already.
    bool insert(std::string_view text, const AddedToken& token);
    bool empty() const { return tokens_.empty(); }
    bool begins(char c) const { return first_[static_cast<unsigned char>(c)]; }
    struct Match {
      const AddedToken* token = nullptr;  // nullptr: none begins here
      size_t length = 0;
    };
    Match longest(std::string_view text, size_t position) const;

   private:
    std::unordered_map<uint64_t, uint32_t> child_;  // (node, byte) -> node
    std::unordered_map<uint32_t, size_t> token_of_;
    std::vector<AddedToken> tokens_;
    std::vector<bool> first_ = std::vector<bool>(256);
    uint32_t last_node_ = 0;
  };
  static void split(const Tree& tree, std::string_view text, SpecialTokens special,
                    std::vector<Part>& parts);

  Tree raw_;
  Tree normalized_;
};

}  // namespace molora
