// What the small files beside a tokenizer say: added tokens, and tokens around a text.
#pragma once

#include <filesystem>
#include <optional>
#include <string>
#include <vector>

#include "tokenizer/added_tokens.h"

namespace molora {

struct ExtraTokens {
  // Of tokenizer_config.json's added_tokens_decoder, and of added_tokens.json what is not in there;
  // by increasing id. Contents are unique.
  std::vector<AddedToken> added;
  std::optional<bool> add_bos;
  std::optional<bool> add_eos;
  std::optional<std::string> bos;
  std::optional<std::string> eos;
  bool legacy = true;  // SentencePiece: also a text that follows a special token begins a word
  std::string origin;  // the files read, for messages
};

// Reads tokenizer_config.json and added_tokens.json of a folder, each if it is there.
// Throws: DataError, IoError.
ExtraTokens read_extra_tokens(const std::filesystem::path& folder);

// An added token of a JSON object with `content` and the flags; the id is given by the caller.
AddedToken parse_added_token(const JsonAt& json, TokenId id);

// A text that writes every field of the tokens, for fingerprints.
std::string describe(const std::vector<AddedToken>& tokens);

}  // namespace molora
