// The tokens that a tokenizer file puts around the ids of a text.
#pragma once

#include <vector>

#include "tokenizer/json_at.h"
#include "tokenizer/tokenizer.h"

namespace molora {

struct TokenTemplate {
  std::vector<TokenId> before;
  std::vector<TokenId> after;
};

// The `post_processor` of a tokenizer.json, for a single text. Throws: DataError, also for kinds
// that are not supported.
TokenTemplate parse_token_template(const JsonAt& json);

}  // namespace molora
