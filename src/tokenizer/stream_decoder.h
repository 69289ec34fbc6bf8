// Ids to text as they come, for showing a generated answer while it is made.
#pragma once

#include <memory>
#include <string>
#include <string_view>

#include "tokenizer/tokenizer.h"

namespace molora {

// One text being decoded. What feed() and finish() return, put together, is exactly what
// Tokenizer::decode() gives for all ids at once. The tokenizer must outlive it. Not for several
// threads at once.
class StreamDecoder {
 public:
  virtual ~StreamDecoder() = default;

  // The text that is certain now and was not before; often empty. Never part of a UTF-8 character,
  // and never a U+FFFD that a later id could have completed to a character.
  virtual std::string feed(TokenId id) = 0;
  // What is left. REQUIRES: called once, last.
  virtual std::string finish() = 0;
};

}  // namespace molora
