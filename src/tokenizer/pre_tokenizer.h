// How a tokenizer file cuts a text into the words that are encoded one by one.
#pragma once

#include <deque>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "tokenizer/json_at.h"
#include "tokenizer/text_pattern.h"

namespace molora {

// Words cut from one text, and the memory of those that were changed.
struct Words {
  struct Word {
    std::string_view text;
    bool begins_input = false;  // stands at the very beginning of the text to encode
  };
  std::vector<Word> list;
  std::deque<std::string> changed;
};

// Immutable; may be used from several threads at once.
class PreTokenizer {
 public:
  // One word: the whole text.
  PreTokenizer() = default;
  // The `pre_tokenizer` of a tokenizer.json. Throws: DataError, also for kinds that are not
  // supported.
  explicit PreTokenizer(const JsonAt& json);

  // Cuts `text` into `words` (replacing what is there). Views in `words` are of `text` and of
  // `words.changed`. REQUIRES: well-formed UTF-8.
  void split(const Words::Word& text, Words& words) const;

  // Whether the vocabulary writes the bytes of words in the letters of ByteAlphabet.
  bool byte_level() const { return byte_level_; }
  // Whether it matters which text stands first in the input.
  bool asks_for_beginning() const;

 private:
  enum class Behavior { kRemoved, kIsolated, kMergedWithPrevious, kMergedWithNext, kContiguous };
  struct Split {
    TextPattern pattern;
    Behavior behavior = Behavior::kIsolated;
    bool invert = false;
  };
  enum class PrependScheme { kAlways, kFirst, kNever };
  struct Prefix {  // ByteLevel's add_prefix_space; Metaspace, which also replaces spaces
    std::string mark;
    PrependScheme scheme = PrependScheme::kAlways;
    bool replaces_spaces = false;
  };
  using Step = std::variant<Split, Prefix>;
  struct Part {
    Span span;
    bool is_match = false;
  };

  void parse(const JsonAt& json, int depth);
  void parse_byte_level(const JsonAt& json);
  void parse_metaspace(const JsonAt& json);
  void parse_split(const JsonAt& json);
  static Behavior behavior_of(const JsonAt& json);
  static std::vector<Part> parts_of(std::string_view text, const Split& split);
  static std::vector<Span> joined(const std::vector<Part>& parts, Behavior behavior);
  static void apply(const Split& split, const Words::Word& word, std::vector<Words::Word>& out);
  static void apply(const Prefix& prefix, const Words::Word& word, Words& words,
                    std::vector<Words::Word>& out);

  std::vector<Step> steps_;
  bool byte_level_ = false;
};

}  // namespace molora
