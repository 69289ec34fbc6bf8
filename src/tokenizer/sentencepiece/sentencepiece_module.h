// What the module around libsentencepiece exports.
#pragma once

#include <string>
#include <string_view>

#include "tokenizer/sentencepiece_library.h"

namespace molora {

inline constexpr char kSentencePieceModule[] = "libmolora_sentencepiece.so";
inline constexpr char kOpenSentencePieceName[] = "molora_open_sentencepiece";

// A new model that the caller owns, or nullptr with the reason in `error`. Never throws.
using OpenSentencePiece = SentencePieceModel*(std::string_view content, std::string& error);

}  // namespace molora
