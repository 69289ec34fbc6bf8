// The text of one answer, piece by piece, as its tokens come; it ends before a stop string.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "tokenizer/stream_decoder.h"
#include "tokenizer/tokenizer.h"

namespace molora {

// The pieces, put together, are the text of all tokens up to the stop string that is complete
// first (of several that end at the same byte the one that begins first), wherever the borders of
// tokens lie. A piece is never part of a UTF-8 character, and never the beginning of a stop string
// that later text could complete. Not for several threads at once.
class AnswerText {
 public:
  // `tokenizer` must outlive this object. REQUIRES: no stop string is empty.
  AnswerText(const Tokenizer& tokenizer, std::vector<std::string> stops);

  // The text that is certain now and was not before; often empty. Nothing after a stop.
  std::string feed(TokenId id);
  // What is left. REQUIRES: called once, last.
  std::string finish();

  bool is_stopped() const { return is_stopped_; }

 private:
  std::string take(const std::string& text);
  size_t held_bytes() const;

  std::unique_ptr<StreamDecoder> decoder_;
  std::vector<std::string> stops_;
  std::string held_;  // text that may be the beginning of a stop string
  bool is_stopped_ = false;
};

}  // namespace molora
