#include "tokenizer/tokenizer.h"

#include <fmt/format.h>

#include "base/error.h"
#include "io/file.h"
#include "tokenizer/bpe_tokenizer.h"
#include "tokenizer/extra_tokens.h"
#include "tokenizer/sentencepiece_tokenizer.h"

namespace molora {

std::unique_ptr<Tokenizer> load_tokenizer(const std::filesystem::path& folder) {
  const std::filesystem::path json = folder / "tokenizer.json";
  const std::filesystem::path model = folder / "tokenizer.model";
  if (std::filesystem::exists(json)) {
    const ExtraTokens extra = read_extra_tokens(folder);
    return parse_tokenizer_json(read_file(json), json.string(), extra.added, extra.origin);
  }
  if (std::filesystem::exists(model)) {
    return parse_sentencepiece_model(read_file(model), model.string(), read_extra_tokens(folder));
  }
  throw DataError(
      fmt::format("{}: holds neither a tokenizer.json nor a tokenizer.model", folder.string()));
}

}  // namespace molora
