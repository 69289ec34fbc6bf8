// How a tokenizer file puts the texts of tokens together.
#pragma once

#include <cstddef>
#include <memory>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "tokenizer/json_at.h"
#include "tokenizer/stream_decoder.h"
#include "tokenizer/text_pattern.h"
#include "tokenizer/vocabulary.h"

namespace molora {

// One step of decoding, fed with the text of tokens in fragments, passing on what it makes of them
// as soon as it is certain. Fragments are well-formed UTF-8.
class DecodeStep {
 public:
  virtual ~DecodeStep() = default;
  virtual void fragment(std::string_view text) = 0;
  virtual void end_token() = 0;
  virtual void end_stream() = 0;
};

// Immutable; may be used from several threads at once.
class Decoder {
 public:
  // No decoder: token texts with a space between two.
  Decoder();
  // The `decoder` of a tokenizer.json. Throws: DataError, also for kinds that are not supported.
  explicit Decoder(const JsonAt& json);
  // What SentencePiece does: U+2581 is a space, "<0x..>" are bytes, and the space that begins the
  // text goes if `strips_first_space`.
  enum class FirstSpace { kStripped, kKept };
  static Decoder sentencepiece(FirstSpace first_space);

  // Decodes one text. `vocabulary` and this must outlive the result.
  std::unique_ptr<StreamDecoder> start(const Vocabulary& vocabulary,
                                       const Tokenizer::DecodeOptions& options) const;
  std::string decode(const std::vector<TokenId>& ids, const Vocabulary& vocabulary,
                     const Tokenizer::DecodeOptions& options) const;

  struct JoinSpaces {};
  struct ByteLevel {};
  struct ByteFallback {};
  struct Fuse {};
  struct Replace {
    TextPattern pattern;
    std::string content;
  };
  struct Strip {
    std::string content;  // one character
    size_t start = 0;
    size_t stop = 0;
  };
  struct Metaspace {
    std::string mark;
    bool drops_first = false;  // marks of the first token are dropped, not turned into spaces
  };
  using Step = std::variant<JoinSpaces, ByteLevel, ByteFallback, Fuse, Replace, Strip, Metaspace>;

 private:
  void parse(const JsonAt& json, int depth);
  void check_growth(const JsonAt& json) const;

  std::vector<Step> steps_;
};

// The running form of a step that passes its result on to `next`, which must outlive it.
std::unique_ptr<DecodeStep> start_step(const Decoder::Step& step, DecodeStep& next);

}  // namespace molora
