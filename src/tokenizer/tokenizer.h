// Text to token ids and back, as the tokenizer files of a published model define it.
//
// Two kinds of files are read: tokenizer.json (byte-level BPE of Qwen, SmolLM2, Llama 3; BPE with
// byte fallback of Llama 2 and Mistral) and SentencePiece's tokenizer.model. What a file asks for
// and this code does not do is refused when the file is read, never left out silently.
//
// Threads: const methods may be called from several threads at once.
#pragma once

#include <cstdint>
#include <filesystem>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace molora {

using TokenId = int32_t;

class StreamDecoder;

// What to do with the text of a special token ("<|im_end|>", "</s>") inside the input.
enum class SpecialTokens {
  kParse,    // it becomes that token's id, as the reference libraries do
  kLiteral,  // it is ordinary text: nobody can forge a turn by typing it
};

class Tokenizer {
 public:
  virtual ~Tokenizer() = default;

  // The ids of `text`, without begin or end tokens. Bytes that are not UTF-8 are taken as U+FFFD,
  // one for each maximal ill-formed part.
  // Throws: DataError in one case only: a regular expression of the file needs absurdly much
  // backtracking on this text. No published tokenizer has such a one.
  virtual std::vector<TokenId> encode(std::string_view text, SpecialTokens special) const = 0;
  std::vector<TokenId> encode(std::string_view text) const {
    return encode(text, SpecialTokens::kParse);
  }

  // encode() with the tokens that the file's post-processor adds around a single text (a begin
  // token for Llama and Mistral, nothing for Qwen).
  virtual std::vector<TokenId> encode_with_special(std::string_view text) const = 0;

  // The text of `ids`; bytes that do not form UTF-8 become U+FFFD. Ids outside the vocabulary
  // contribute nothing. With skip_special, special tokens contribute nothing either.
  struct DecodeOptions {
    bool skip_special = true;
  };
  virtual std::string decode(const std::vector<TokenId>& ids,
                             const DecodeOptions& options) const = 0;
  std::string decode(const std::vector<TokenId>& ids) const { return decode(ids, {}); }

  // decode() bit by bit, see stream_decoder.h. This must outlive the result.
  virtual std::unique_ptr<StreamDecoder> stream_decoder(const DecodeOptions& options) const = 0;

  // The id of exactly this token (an added token's content or a vocabulary entry), if there is one.
  virtual std::optional<TokenId> token_id(std::string_view token) const = 0;

  // One more than the largest id, added tokens included. A model's embedding may have more rows.
  virtual TokenId vocab_size() const = 0;

  virtual bool is_special(TokenId id) const = 0;

  // A digest of everything that decides how text is encoded: the content of the files. Two
  // tokenizers with equal fingerprints give equal ids; used as the key of tokenized data.
  virtual std::string fingerprint() const = 0;
};

// Reads the tokenizer of a model folder: tokenizer.json if there is one, else tokenizer.model.
// Special tokens of tokenizer_config.json (`added_tokens_decoder`) and added_tokens.json are
// taken over when the main file lacks them.
// Throws: DataError that names the file and what is wrong or unsupported in it; IoError.
std::unique_ptr<Tokenizer> load_tokenizer(const std::filesystem::path& folder);

}  // namespace molora
