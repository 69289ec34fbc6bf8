// The tokenizer of a tokenizer.json: normalizer, pre-tokenizer, BPE, template, decoder.
#pragma once

#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "tokenizer/added_tokens.h"
#include "tokenizer/tokenizer.h"

namespace molora {

// Reads a tokenizer.json given as text. `origin` names it in messages. `extra` are tokens of other
// files, added if the text has none of their content, with the ids they say; `extra_origin` names
// those files. Throws: DataError, also for everything in the file that is not supported.
std::unique_ptr<Tokenizer> parse_tokenizer_json(std::string_view text, const std::string& origin,
                                                const std::vector<AddedToken>& extra = {},
                                                const std::string& extra_origin = "");

}  // namespace molora
