// Arbitrary bytes as a tokenizer.json; what loads encodes and decodes a few texts, and streams what
// it decodes at once.
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <string>
#include <string_view>

#include "base/error.h"
#include "tokenizer/bpe_tokenizer.h"
#include "tokenizer/stream_decoder.h"
#include "tokenizer/tokenizer.h"

namespace {

using namespace std::string_view_literals;

constexpr std::string_view kTexts[] = {""sv, "Hello world's  12345\n\n<s>x</s> "sv,
                                       "\xE4\xBD\xA0 e\xCC\x81 \xF0\x9F\x98\x80\xFF\xE4\xBD"sv,
                                       "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"sv,
                                       "\0\x01 \xE2\x96\x81"sv};

void use(const molora::Tokenizer& tokenizer, std::string_view text) {
  for (const auto special : {molora::SpecialTokens::kParse, molora::SpecialTokens::kLiteral}) {
    const auto ids = tokenizer.encode(text, special);
    std::string streamed;
    const auto stream = tokenizer.stream_decoder({});
    for (const molora::TokenId id : ids) streamed += stream->feed(id);
    streamed += stream->finish();
    if (streamed != tokenizer.decode(ids)) std::abort();
  }
  (void)tokenizer.encode_with_special(text);
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  try {
    const auto tokenizer =
        molora::parse_tokenizer_json({reinterpret_cast<const char*>(data), size}, "fuzz.json");
    for (const std::string_view text : kTexts) use(*tokenizer, text);
  } catch (const molora::Error&) {
    // A refusal is a right answer.
  }
  return 0;
}
