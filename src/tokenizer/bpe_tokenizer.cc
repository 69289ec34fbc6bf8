#include "tokenizer/bpe_tokenizer.h"

#include <utility>

#include "io/digest.h"
#include "tokenizer/extra_tokens.h"
#include "tokenizer/tokenizer_json.h"
#include "tokenizer/utf8.h"
#include "tokenizer/vocabulary_tokenizer.h"

namespace molora {

namespace {

class BpeTokenizer : public VocabularyTokenizer<TokenizerJson> {
 public:
  BpeTokenizer(TokenizerJson parts, std::string fingerprint)
      : VocabularyTokenizer(std::move(parts), std::move(fingerprint)) {}

  std::vector<TokenId> encode(std::string_view text, SpecialTokens special) const override {
    Run run{special, {}, {}, {}, {}, {}};
    std::string repaired;
    const std::string_view whole = repaired_utf8(text, repaired);
    std::vector<AddedTokens::Part> pieces;
    parts().added.split_raw(whole, special, pieces);
    for (const AddedTokens::Part& part : pieces) {
      if (part.id >= 0) {
        run.ids.push_back(part.id);
      } else {
        encode_text({part.text, part.text.data() == whole.data()}, run);
      }
    }
    return std::move(run.ids);
  }

 private:
  // What one call of encode() works with.
  struct Run {
    SpecialTokens special;
    std::vector<TokenId> ids;
    std::string normalized;
    std::vector<AddedTokens::Part> parts;
    Words words;
    BpeModel::Scratch scratch;
  };

  // A text without raw added tokens.
  void encode_text(const Words::Word& text, Run& run) const {
    const std::string_view normalized = parts().normalizer.apply(text.text, run.normalized);
    parts().added.split_normalized(normalized, run.special, run.parts);
    for (const AddedTokens::Part& part : run.parts) {
      if (part.id >= 0) {
        run.ids.push_back(part.id);
        continue;
      }
      const bool begins = text.begins_input && part.text.data() == normalized.data();
      parts().pre_tokenizer.split({part.text, begins}, run.words);
      for (const Words::Word& word : run.words.list) {
        parts().model.encode_word(word.text, run.special, run.scratch, run.ids);
      }
    }
  }
};

}  // namespace

std::unique_ptr<Tokenizer> parse_tokenizer_json(std::string_view text, const std::string& origin,
                                                const std::vector<AddedToken>& extra,
                                                const std::string& extra_origin) {
  TokenizerJson parts = read_tokenizer_json(text, origin);
  const std::vector<AddedToken> taken = add_extra_tokens(extra, extra_origin, parts);
  finish_tokenizer_json(origin, parts);
  Sha256 digest;
  digest.update("tokenizer.json\n");
  digest.update(describe(taken));
  digest.update("\n");
  digest.update(text);
  return std::make_unique<BpeTokenizer>(std::move(parts), digest.hex());
}

}  // namespace molora
