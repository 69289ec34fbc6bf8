// The tokenizer of a SentencePiece tokenizer.model.
#pragma once

#include <memory>
#include <string>
#include <string_view>

#include "tokenizer/extra_tokens.h"
#include "tokenizer/tokenizer.h"

namespace molora {

// Reads a model given as its bytes. `origin` names it in messages. Control and unknown tokens of
// the model are special; tokens of `extra` are added, with the ids they say.
// Throws: DataError.
std::unique_ptr<Tokenizer> parse_sentencepiece_model(std::string_view content,
                                                     const std::string& origin,
                                                     const ExtraTokens& extra);

}  // namespace molora
