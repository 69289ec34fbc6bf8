#include "tokenizer/bpe_tokenizer.h"

#include <utility>

#include "io/digest.h"
#include "tokenizer/extra_tokens.h"
#include "tokenizer/stream_decoder.h"
#include "tokenizer/tokenizer_json.h"
#include "tokenizer/utf8.h"

namespace molora {

namespace {

class BpeTokenizer : public Tokenizer {
 public:
  BpeTokenizer(TokenizerJson parts, std::string fingerprint)
      : parts_(std::move(parts)), fingerprint_(std::move(fingerprint)) {}

  std::vector<TokenId> encode(std::string_view text, SpecialTokens special) const override {
    Run run{special, {}, {}, {}, {}, {}};
    std::string repaired;
    const std::string_view whole = repaired_utf8(text, repaired);
    std::vector<AddedTokens::Part> parts;
    parts_.added.split_raw(whole, special, parts);
    for (const AddedTokens::Part& part : parts) {
      if (part.id >= 0) {
        run.ids.push_back(part.id);
      } else {
        encode_text({part.text, part.text.data() == whole.data()}, run);
      }
    }
    return std::move(run.ids);
  }

  std::vector<TokenId> encode_with_special(std::string_view text) const override {
    std::vector<TokenId> ids = parts_.around.before;
    const std::vector<TokenId> inner = encode(text, SpecialTokens::kParse);
    ids.insert(ids.end(), inner.begin(), inner.end());
    ids.insert(ids.end(), parts_.around.after.begin(), parts_.around.after.end());
    return ids;
  }

  std::string decode(const std::vector<TokenId>& ids, const DecodeOptions& options) const override {
    return parts_.decoder.decode(ids, parts_.vocabulary, options);
  }

  std::unique_ptr<StreamDecoder> stream_decoder(const DecodeOptions& options) const override {
    return parts_.decoder.start(parts_.vocabulary, options);
  }

  std::optional<TokenId> token_id(std::string_view token) const override {
    return parts_.vocabulary.find(token);
  }
  TokenId vocab_size() const override { return parts_.vocabulary.end_id(); }
  bool is_special(TokenId id) const override { return parts_.vocabulary.is_special(id); }
  std::string fingerprint() const override { return fingerprint_; }

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
    const std::string_view normalized = parts_.normalizer.apply(text.text, run.normalized);
    parts_.added.split_normalized(normalized, run.special, run.parts);
    for (const AddedTokens::Part& part : run.parts) {
      if (part.id >= 0) {
        run.ids.push_back(part.id);
        continue;
      }
      const bool begins = text.begins_input && part.text.data() == normalized.data();
      parts_.pre_tokenizer.split({part.text, begins}, run.words);
      for (const Words::Word& word : run.words.list) {
        parts_.model.encode_word(word.text, run.special, run.scratch, run.ids);
      }
    }
  }

  TokenizerJson parts_;
  std::string fingerprint_;
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
