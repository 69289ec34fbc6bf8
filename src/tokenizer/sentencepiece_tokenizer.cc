#include "tokenizer/sentencepiece_tokenizer.h"

#include <algorithm>
#include <utility>
#include <vector>

#include <fmt/format.h>

#include "base/error.h"
#include "io/digest.h"
#include "tokenizer/decoder.h"
#include "tokenizer/normalizer.h"
#include "tokenizer/sentencepiece_library.h"
#include "tokenizer/token_template.h"
#include "tokenizer/utf8.h"
#include "tokenizer/vocabulary.h"
#include "tokenizer/vocabulary_tokenizer.h"

namespace molora {

namespace {

constexpr std::string_view kWordMark = "\xE2\x96\x81";  // U+2581

// Two messages of protobuf written one after the other read as one, the later field winning: these
// bytes set normalizer_spec (3) { add_dummy_prefix (3): false }.
constexpr std::string_view kNoDummyPrefix("\x1A\x02\x18\x00", 4);

std::unique_ptr<SentencePieceModel> load_model(std::string_view content,
                                               const std::string& origin) {
  auto model = load_sentencepiece(content, origin);
  if (static_cast<uint64_t>(model->size()) > kMaxTokenId) {
    throw DataError(fmt::format("{}: {} pieces are beyond {}, the most that are read", origin,
                                model->size(), kMaxTokenId));
  }
  return model;
}

struct Parts {
  std::unique_ptr<SentencePieceModel> first;  // for a text that begins the input
  std::unique_ptr<SentencePieceModel> later;  // for one after a token; nullptr: as the first
  Vocabulary vocabulary;
  AddedTokens added;
  Decoder decoder;
  TokenTemplate around;
};

void fill_vocabulary(const std::string& origin, Parts& parts, std::vector<AddedToken>& added) {
  for (int id = 0; id < parts.first->size(); ++id) {
    const std::string piece = parts.first->piece(id);
    if (parts.vocabulary.find(piece)) {
      throw DataError(fmt::format("{}: piece '{}' is there twice", origin, piece));
    }
    parts.vocabulary.insert(id, piece);
    if (!parts.first->is_control(id) && !parts.first->is_unknown(id)) continue;
    parts.vocabulary.mark_special(id);
    if (!piece.empty()) {
      AddedToken token;
      token.content = piece;
      token.id = id;
      token.special = true;
      added.push_back(token);
    }
  }
}

void take_extra_tokens(const ExtraTokens& extra, Parts& parts, std::vector<AddedToken>& added) {
  for (AddedToken token : extra.added) {
    const auto known = parts.vocabulary.find(token.content);
    if (known.value_or(token.id) != token.id || (!known && parts.vocabulary.contains(token.id))) {
      throw DataError(
          fmt::format("{}: added token '{}' has id {}, but the model gives {}", extra.origin,
                      token.content, token.id,
                      known ? fmt::format("it {}", *known)
                            : fmt::format("that to '{}'", parts.vocabulary.text(token.id))));
    }
    token.normalized = false;  // the model's own normalization is not for added tokens
    if (!known) parts.vocabulary.insert(token.id, token.content);
    if (token.special) parts.vocabulary.mark_special(token.id);
    std::erase_if(added, [&](const AddedToken& other) { return other.id == token.id; });
    added.push_back(token);
  }
}

// The id of a named token, or what the model has.
TokenId named_token(const std::optional<std::string>& name, int model_id, const char* what,
                    const ExtraTokens& extra, const Parts& parts) {
  const auto id = name ? parts.vocabulary.find(*name)
                       : (model_id >= 0 ? std::optional<TokenId>(model_id) : std::nullopt);
  if (id) return *id;
  throw DataError(fmt::format("{}: {} asks for a token that the tokenizer lacks{}", extra.origin,
                              what, name ? ": '" + *name + "'" : std::string()));
}

void read_frame(const ExtraTokens& extra, Parts& parts) {
  const int bos = parts.first->bos_id();
  if (extra.add_bos.value_or(bos >= 0)) {
    parts.around.before.push_back(named_token(extra.bos, bos, "add_bos_token", extra, parts));
  }
  if (extra.add_eos.value_or(false)) {
    parts.around.after.push_back(
        named_token(extra.eos, parts.first->eos_id(), "add_eos_token", extra, parts));
  }
}

// Whether a text is encoded as if a space stood before it.
bool has_dummy_prefix(const SentencePieceModel& model) {
  const std::vector<std::string> pieces = model.encode_as_pieces("a");
  return !pieces.empty() && pieces.front().starts_with(kWordMark);
}

class SentencePieceTokenizer : public VocabularyTokenizer<Parts> {
 public:
  SentencePieceTokenizer(Parts parts, std::string fingerprint)
      : VocabularyTokenizer(std::move(parts), std::move(fingerprint)) {}

  std::vector<TokenId> encode(std::string_view text, SpecialTokens special) const override {
    std::string repaired;
    const std::string_view whole = repaired_utf8(text, repaired);
    std::vector<AddedTokens::Part> pieces;
    parts().added.split_raw(whole, special, pieces);
    std::vector<TokenId> ids;
    for (const AddedTokens::Part& piece : pieces) {
      if (piece.id >= 0) {
        ids.push_back(piece.id);
        continue;
      }
      const bool begins = piece.text.data() == whole.data() || parts().later == nullptr;
      const std::vector<int> part = (begins ? *parts().first : *parts().later).encode(piece.text);
      ids.insert(ids.end(), part.begin(), part.end());
    }
    return ids;
  }
};

}  // namespace

std::unique_ptr<Tokenizer> parse_sentencepiece_model(std::string_view content,
                                                     const std::string& origin,
                                                     const ExtraTokens& extra) {
  Parts parts;
  parts.first = load_model(content, origin);
  std::vector<AddedToken> added;
  fill_vocabulary(origin, parts, added);
  take_extra_tokens(extra, parts, added);
  parts.added = AddedTokens(added, Normalizer(), origin);
  read_frame(extra, parts);
  const bool prefix = has_dummy_prefix(*parts.first);
  parts.decoder =
      Decoder::sentencepiece(prefix ? Decoder::FirstSpace::kStripped : Decoder::FirstSpace::kKept);
  if (prefix && !extra.legacy) {
    parts.later = load_model(std::string(content).append(kNoDummyPrefix), origin);
  }
  Sha256 digest;
  digest.update(fmt::format("tokenizer.model\nlegacy {}\nbefore {}\nafter {}\n", int{extra.legacy},
                            fmt::join(parts.around.before, " "),
                            fmt::join(parts.around.after, " ")));
  digest.update(describe(added));
  digest.update("\n");
  digest.update(content);
  return std::make_unique<SentencePieceTokenizer>(std::move(parts), digest.hex());
}

}  // namespace molora
