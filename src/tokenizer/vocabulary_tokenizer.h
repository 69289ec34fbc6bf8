// What every tokenizer does alike once it has a vocabulary: decoding, looking tokens up, and
// putting the tokens of its template around a text. How a text becomes ids is left to the derived
// class.
#pragma once

#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "tokenizer/stream_decoder.h"
#include "tokenizer/tokenizer.h"

namespace molora {

// `Parts` has at least: Vocabulary vocabulary, Decoder decoder, TokenTemplate around.
template <typename Parts>
class VocabularyTokenizer : public Tokenizer {
 public:
  using Tokenizer::encode;

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

 protected:
  VocabularyTokenizer(Parts parts, std::string fingerprint)
      : parts_(std::move(parts)), fingerprint_(std::move(fingerprint)) {}

  const Parts& parts() const { return parts_; }

 private:
  Parts parts_;
  std::string fingerprint_;
};

}  // namespace molora
