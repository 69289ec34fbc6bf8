// A tokenizer for tests: a token a byte, and the special tokens that it is told to have.
#pragma once

#include <algorithm>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "tokenizer/stream_decoder.h"
#include "tokenizer/tokenizer.h"

namespace molora::testing {

// Ids 0 to 255 are the bytes; the special tokens follow in their order.
class FakeTokenizer : public Tokenizer {
 public:
  explicit FakeTokenizer(std::vector<std::string> special_tokens)
      : special_tokens_(std::move(special_tokens)) {}

  using Tokenizer::decode;
  using Tokenizer::encode;

  std::vector<TokenId> encode(std::string_view text, SpecialTokens special) const override {
    std::vector<TokenId> ids;
    while (!text.empty()) {
      const auto found = std::find_if(
          special_tokens_.begin(), special_tokens_.end(), [&](const std::string& token) {
            return special == SpecialTokens::kParse && text.starts_with(token);
          });
      if (found != special_tokens_.end()) {
        ids.push_back(*token_id(*found));
        text.remove_prefix(found->size());
      } else {
        ids.push_back(static_cast<unsigned char>(text.front()));
        text.remove_prefix(1);
      }
    }
    return ids;
  }

  std::vector<TokenId> encode_with_special(std::string_view text) const override {
    return encode(text, SpecialTokens::kParse);
  }

  std::string decode(const std::vector<TokenId>& ids, const DecodeOptions& options) const override {
    std::string text;
    for (const TokenId id : ids) {
      if (id < kBytes) {
        text.push_back(static_cast<char>(id));
      } else if (!options.skip_special) {
        text += special_tokens_.at(static_cast<size_t>(id - kBytes));
      }
    }
    return text;
  }

  std::unique_ptr<StreamDecoder> stream_decoder(const DecodeOptions& options) const override {
    return std::make_unique<AllAtTheEnd>(*this, options);
  }

  std::optional<TokenId> token_id(std::string_view token) const override {
    const auto found = std::find(special_tokens_.begin(), special_tokens_.end(), token);
    if (found == special_tokens_.end()) return std::nullopt;
    return kBytes + static_cast<TokenId>(found - special_tokens_.begin());
  }

  TokenId vocab_size() const override {
    return kBytes + static_cast<TokenId>(special_tokens_.size());
  }
  bool is_special(TokenId id) const override { return id >= kBytes && id < vocab_size(); }

  std::string fingerprint() const override {
    std::string all = "bytes";
    for (const std::string& token : special_tokens_) all += "," + token;
    return all;
  }

 private:
  // Nothing is certain before the end.
  class AllAtTheEnd final : public StreamDecoder {
   public:
    AllAtTheEnd(const FakeTokenizer& tokenizer, const DecodeOptions& options)
        : tokenizer_(tokenizer), options_(options) {}
    std::string feed(TokenId id) override {
      ids_.push_back(id);
      return {};
    }
    std::string finish() override { return tokenizer_.decode(ids_, options_); }

   private:
    const FakeTokenizer& tokenizer_;
    DecodeOptions options_;
    std::vector<TokenId> ids_;
  };

  static constexpr TokenId kBytes = 256;
  std::vector<std::string> special_tokens_;
};

inline FakeTokenizer chatml_tokenizer() {
  return FakeTokenizer({"<|endoftext|>", "<|im_start|>", "<|im_end|>"});
}

}  // namespace molora::testing
