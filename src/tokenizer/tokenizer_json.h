// The parts of a tokenizer.json, read and checked.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "tokenizer/added_tokens.h"
#include "tokenizer/bpe_model.h"
#include "tokenizer/decoder.h"
#include "tokenizer/normalizer.h"
#include "tokenizer/pre_tokenizer.h"
#include "tokenizer/token_template.h"
#include "tokenizer/vocabulary.h"

namespace molora {

struct TokenizerJson {
  Vocabulary vocabulary;  // the model's tokens and the added ones
  Normalizer normalizer;
  PreTokenizer pre_tokenizer;
  BpeModel model;
  TokenTemplate around;
  Decoder decoder;
  AddedTokens added;  // filled by finish_tokenizer_json()

  BpeModel::Vocab model_vocab;  // empty after finish_tokenizer_json()
  std::vector<AddedToken> added_list;
};

// Reads everything but what depends on tokens of other files. Throws: DataError.
TokenizerJson read_tokenizer_json(std::string_view text, const std::string& origin);

// Adds tokens of other files whose content is no token yet; returns those. Throws: DataError when
// an id is not the one that the reference library would give.
std::vector<AddedToken> add_extra_tokens(const std::vector<AddedToken>& extra,
                                         const std::string& extra_origin, TokenizerJson& parts);

// Makes the tables that need all tokens. Throws: DataError.
void finish_tokenizer_json(const std::string& origin, TokenizerJson& parts);

}  // namespace molora
