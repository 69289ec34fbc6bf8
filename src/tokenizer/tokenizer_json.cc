#include "tokenizer/tokenizer_json.h"

#include <algorithm>
#include <set>
#include <utility>

#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include "base/error.h"
#include "io/strict_json.h"
#include "tokenizer/extra_tokens.h"

namespace molora {

namespace {

using nlohmann::json;

TokenId token_id(const JsonAt& at) {
  if (at.count() > kMaxTokenId) {
    at.fail(fmt::format("id {} is beyond {}, the largest that is read", at.count(), kMaxTokenId));
  }
  return static_cast<TokenId>(at.count());
}

void read_vocab(const JsonAt& vocab, TokenizerJson& parts) {
  if (!vocab.value().is_object()) vocab.fail("is not an object of tokens and ids");
  for (const auto& [text, value] : vocab.value().items()) {
    if (!value.is_number_unsigned() || value.get<uint64_t>() > kMaxTokenId) {
      (void)token_id(vocab.within(value, fmt::format("['{}']", text)));
    }
    const auto id = value.get<TokenId>();
    if (parts.vocabulary.contains(id)) {
      vocab.fail(
          fmt::format("tokens '{}' and '{}' have one id, {}", parts.vocabulary.text(id), text, id));
    }
    parts.vocabulary.insert(id, text);
    parts.model_vocab.emplace_back(text, id);
  }
}

// "a b" or ["a", "b"]; nothing for the line of a merges file that tells its version.
std::optional<std::pair<std::string_view, std::string_view>> merge_pair(const json& merge,
                                                                        const JsonAt& list,
                                                                        size_t index) {
  const auto fail = [&](const char* what) {
    list.within(merge, fmt::format("[{}]", index)).fail(what);
  };
  if (merge.is_array()) {
    if (merge.size() != 2 || !merge[0].is_string() || !merge[1].is_string()) {
      fail("is not a pair of tokens");
    }
    return std::pair<std::string_view, std::string_view>(merge[0].get_ref<const std::string&>(),
                                                         merge[1].get_ref<const std::string&>());
  }
  if (!merge.is_string()) fail("is not a pair of tokens");
  const std::string_view line = merge.get_ref<const std::string&>();
  if (line.starts_with("#version")) return std::nullopt;
  const size_t space = line.find(' ');
  if (space == std::string_view::npos || line.find(' ', space + 1) != std::string_view::npos) {
    fail("is not two tokens with one space between them");
  }
  return std::pair(line.substr(0, space), line.substr(space + 1));
}

void read_merges(const JsonAt& merges, BpeModel& model) {
  if (!merges.value().is_array()) merges.fail("is not a list");
  size_t index = 0;
  for (const json& merge : merges.value()) {
    if (const auto pair = merge_pair(merge, merges, index)) {
      const auto& [left, right] = *pair;
      const BpeModel::Added added = model.add_merge(left, right);
      if (added != BpeModel::Added::kYes) {
        const std::string missing = added == BpeModel::Added::kLeftUnknown ? std::string(left)
                                    : added == BpeModel::Added::kRightUnknown
                                        ? std::string(right)
                                        : std::string(left).append(right);
        merges.fail(
            fmt::format("merge {} ('{}' and '{}') needs token '{}', which is not in the "
                        "vocabulary",
                        index, left, right, missing));
      }
    }
    ++index;
  }
}

BpeOptions read_options(const JsonAt& model, const TokenizerJson& parts) {
  for (const char* name : {"continuing_subword_prefix", "end_of_word_suffix"}) {
    if (!model.text_or(name, "").empty()) {
      model.field(name).fail("is not supported; only an empty one is");
    }
  }
  const auto dropout = model.find("dropout");
  if (dropout && (!dropout->value().is_number() || dropout->value().get<double>() != 0.0)) {
    dropout->fail("is not supported: tokenization would be random; set it to null");
  }
  BpeOptions options;
  options.byte_level = parts.pre_tokenizer.byte_level();
  options.byte_fallback = model.flag_or("byte_fallback", false);
  options.fuse_unk = model.flag_or("fuse_unk", false);
  options.ignore_merges = model.flag_or("ignore_merges", false);
  if (options.byte_level && options.byte_fallback) {
    model.field("byte_fallback").fail("is not supported together with ByteLevel");
  }
  if (const auto unk = model.find("unk_token")) {
    options.unk = parts.vocabulary.find(unk->text());
    if (!options.unk) unk->fail(fmt::format("'{}' is not in the vocabulary", unk->text()));
  }
  return options;
}

void read_model(const JsonAt& model, TokenizerJson& parts) {
  const std::string type = model.text_or("type", "BPE");
  if (type != "BPE") model.fail(fmt::format("model {} is not supported; only BPE is", type));
  read_vocab(model.field("vocab"), parts);
  parts.model = BpeModel(parts.model_vocab, read_options(model, parts));
  read_merges(model.field("merges"), parts.model);
}

// The id that the reference library gives to the next added token that is not in the vocabulary.
TokenId next_added_id(const TokenizerJson& parts) {
  auto next = static_cast<TokenId>(parts.model_vocab.size());
  for (const AddedToken& token : parts.added_list) next = std::max(next, token.id + 1);
  return next;
}

// Adds a token that may be in the model's vocabulary. It must have the id that the reference
// library gives, which counts on from the vocabulary and ignores what the file says.
void add_token(const AddedToken& token, TokenId next, const std::string& where,
               TokenizerJson& parts) {
  const auto known = parts.vocabulary.find(token.content);
  const TokenId given = known.value_or(next);
  if (given != token.id || (!known && parts.vocabulary.contains(token.id))) {
    throw DataError(
        fmt::format("{}: added token '{}' has id {}, but {}: the file contradicts "
                    "itself",
                    where, token.content, token.id,
                    known ? fmt::format("the vocabulary gives it {}", given)
                          : fmt::format("the next free one is {}", given)));
  }
  if (!known) parts.vocabulary.insert(token.id, token.content);
  if (token.special) parts.vocabulary.mark_special(token.id);
  parts.added_list.push_back(token);
}

void read_added_tokens(const JsonAt& list, TokenizerJson& parts) {
  auto next = static_cast<TokenId>(parts.model_vocab.size());
  std::set<std::string> contents;
  for (const JsonAt& item : list.items()) {
    for (const char* flag : {"single_word", "lstrip", "rstrip", "normalized", "special"}) {
      (void)item.field(flag).flag();
    }
    const AddedToken token = parse_added_token(item, token_id(item.field("id")));
    if (token.content.empty()) item.fail("is a token without content");
    if (!contents.insert(token.content).second) item.fail("is there twice");
    const bool is_new = !parts.vocabulary.find(token.content);
    add_token(token, next, item.where(), parts);
    if (is_new) ++next;
  }
}

// Truncation and padding of the file are what a program had set when it saved; those that would
// change the ids of a single text are not done here.
void check_lengths(const JsonAt& root) {
  if (const auto truncation = root.find("truncation")) {
    truncation->fail("is not supported: it would cut texts off; set it to null");
  }
  if (const auto padding = root.find("padding")) {
    const auto strategy = padding->find("strategy");
    const bool to_longest = strategy && strategy->value().is_string() &&
                            strategy->text() == "BatchLongest" &&
                            !padding->find("pad_to_multiple_of");
    if (!to_longest) padding->fail("is not supported: it would lengthen texts; set it to null");
  }
}

}  // namespace

TokenizerJson read_tokenizer_json(std::string_view text, const std::string& origin) {
  const json document = parse_json_object(text, origin);
  const JsonAt root(document, origin);
  const std::string version = root.text_or("version", "1.0");
  if (version != "1.0") root.fail(fmt::format("version {} is not supported, 1.0 is", version));
  check_lengths(root);
  TokenizerJson parts;
  if (const auto normalizer = root.find("normalizer")) parts.normalizer = Normalizer(*normalizer);
  if (const auto pre_tokenizer = root.find("pre_tokenizer")) {
    parts.pre_tokenizer = PreTokenizer(*pre_tokenizer);
    if (parts.pre_tokenizer.asks_for_beginning() && !parts.normalizer.keeps_beginning()) {
      pre_tokenizer->fail(
          "prepend_scheme 'first' is not supported after a normalizer that may "
          "take the first character away");
    }
  }
  if (const auto processor = root.find("post_processor")) {
    parts.around = parse_token_template(*processor);
  }
  if (const auto decoder = root.find("decoder")) parts.decoder = Decoder(*decoder);
  read_model(root.field("model"), parts);
  if (const auto added = root.find("added_tokens")) read_added_tokens(*added, parts);
  return parts;
}

std::vector<AddedToken> add_extra_tokens(const std::vector<AddedToken>& extra,
                                         const std::string& extra_origin, TokenizerJson& parts) {
  std::vector<AddedToken> taken;
  TokenId next = next_added_id(parts);
  std::set<std::string> contents;
  for (const AddedToken& token : parts.added_list) contents.insert(token.content);
  for (const AddedToken& token : extra) {
    if (contents.count(token.content) > 0) {
      const TokenId known = parts.vocabulary.find(token.content).value_or(-1);
      if (known != token.id) add_token(token, known, extra_origin, parts);  // throws
      continue;
    }
    const bool is_new = !parts.vocabulary.find(token.content);
    add_token(token, next, extra_origin, parts);
    if (is_new) ++next;
    taken.push_back(token);
  }
  return taken;
}

void finish_tokenizer_json(const std::string& origin, TokenizerJson& parts) {
  parts.added = AddedTokens(parts.added_list, parts.normalizer, origin);
  std::vector<TokenId> special;
  for (const AddedToken& token : parts.added_list) {
    if (token.special) special.push_back(token.id);
    std::string buffer;
    if (token.normalized) {
      parts.vocabulary.set_decoded_text(token.id, parts.normalizer.apply(token.content, buffer));
    }
  }
  parts.model.finish(parts.model_vocab, special);
  parts.model_vocab = {};
}

}  // namespace molora
