// Small tokenizer.json documents for tests, to be changed and parsed.
#pragma once

#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include <nlohmann/json.hpp>

#include "tokenizer/bpe_tokenizer.h"
#include "tokenizer/byte_alphabet.h"
#include "tokenizer/stream_decoder.h"
#include "tokenizer/tokenizer.h"

namespace molora::testing {

using nlohmann::json;
using Merges = std::vector<std::pair<std::string, std::string>>;

inline const std::string kMark = "\xE2\x96\x81";  // U+2581

// Puts the result of each merge into the vocabulary, at the next free ids, and lists the merges.
inline void add_merges(json& document, const Merges& merges) {
  json& model = document["model"];
  for (const auto& [left, right] : merges) {
    const std::string merged = left + right;
    if (!model["vocab"].contains(merged)) model["vocab"][merged] = model["vocab"].size();
    model["merges"].push_back({left, right});
  }
}

inline json added_token(const json& document, const std::string& content, json flags = {}) {
  json token = {{"content", content}, {"single_word", false}, {"lstrip", false},
                {"rstrip", false},    {"normalized", false},  {"special", false}};
  size_t added = 0;
  for (const json& other : document["added_tokens"]) {
    if (!document["model"]["vocab"].contains(other["content"])) ++added;
  }
  token["id"] = document["model"]["vocab"].size() + added;
  if (!flags.is_null()) token.update(flags);
  return token;
}

// Byte-level: ids 0..255 are the bytes, in the order of their values; then what `merges` make.
// The byte of a space is written "\u0120" in merges.
inline json byte_level_json(const Merges& merges) {
  json document = {
      {"version", "1.0"},
      {"added_tokens", json::array()},
      {"pre_tokenizer", {{"type", "ByteLevel"}, {"add_prefix_space", false}}},
      {"decoder", {{"type", "ByteLevel"}}},
      {"model", {{"type", "BPE"}, {"vocab", json::object()}, {"merges", json::array()}}}};
  const ByteAlphabet alphabet;
  for (int byte = 0; byte < 256; ++byte) {
    document["model"]["vocab"][std::string(alphabet.text_of(static_cast<unsigned char>(byte)))] =
        byte;
  }
  add_merges(document, merges);
  return document;
}

// As Llama 2 has it: 0 <unk>, 1 <s>, 2 </s>, 3..258 the bytes, then U+2581, the letters a to z, and
// what `merges` make.
inline json byte_fallback_json(const Merges& merges) {
  json vocab = {{"<unk>", 0}, {"<s>", 1}, {"</s>", 2}};
  constexpr const char* kHex = "0123456789ABCDEF";
  for (unsigned byte = 0; byte < 256; ++byte) {
    vocab[std::string("<0x") + kHex[byte / 16] + kHex[byte % 16] + ">"] = 3 + byte;
  }
  vocab[kMark] = vocab.size();
  for (char letter = 'a'; letter <= 'z'; ++letter) vocab[std::string(1, letter)] = vocab.size();
  json document = {
      {"version", "1.0"},
      {"added_tokens", json::array()},
      {"normalizer",
       {{"type", "Sequence"},
        {"normalizers",
         {{{"type", "Prepend"}, {"prepend", kMark}},
          {{"type", "Replace"}, {"pattern", {{"String", " "}}}, {"content", kMark}}}}}},
      {"decoder",
       {{"type", "Sequence"},
        {"decoders",
         {{{"type", "Replace"}, {"pattern", {{"String", kMark}}}, {"content", " "}},
          {{"type", "ByteFallback"}},
          {{"type", "Fuse"}},
          {{"type", "Strip"}, {"content", " "}, {"start", 1}, {"stop", 0}}}}}},
      {"model",
       {{"type", "BPE"},
        {"unk_token", "<unk>"},
        {"byte_fallback", true},
        {"fuse_unk", true},
        {"vocab", vocab},
        {"merges", json::array()}}}};
  int id = 0;
  for (const char* name : {"<unk>", "<s>", "</s>"}) {
    document["added_tokens"].push_back(
        added_token(document, name, {{"id", id++}, {"special", true}}));
  }
  add_merges(document, merges);
  return document;
}

inline std::unique_ptr<Tokenizer> parse_tokenizer(const json& document) {
  return parse_tokenizer_json(document.dump(), "tiny.json");
}

// The texts of the tokens of `text`, as decoding writes each alone.
inline std::vector<std::string> token_texts(const Tokenizer& tokenizer, std::string_view text) {
  std::vector<std::string> texts;
  for (const TokenId id : tokenizer.encode(text)) {
    texts.push_back(tokenizer.decode({id}, {.skip_special = false}));
  }
  return texts;
}

// What a stream decoder gives, id by id, and at last what finish() gives.
inline std::vector<std::string> streamed(const Tokenizer& tokenizer,
                                         const std::vector<TokenId>& ids) {
  const auto stream = tokenizer.stream_decoder({});
  std::vector<std::string> texts;
  for (const TokenId id : ids) texts.push_back(stream->feed(id));
  texts.push_back(stream->finish());
  return texts;
}

}  // namespace molora::testing
