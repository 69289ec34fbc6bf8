#include "tokenizer/extra_tokens.h"

#include <algorithm>
#include <charconv>
#include <map>
#include <set>

#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include "base/error.h"
#include "io/file.h"
#include "io/strict_json.h"
#include "tokenizer/vocabulary.h"

namespace molora {

namespace {

namespace fs = std::filesystem;
using TokensById = std::map<TokenId, AddedToken>;

// A token's name: a text, or an object with `content`.
std::optional<std::string> token_name(const JsonAt& config, const char* key) {
  const auto found = config.find(key);
  if (!found) return std::nullopt;
  if (found->value().is_object()) return found->field("content").text();
  return found->text();
}

std::set<std::string> special_names(const JsonAt& config) {
  std::set<std::string> names;
  for (const char* key : {"bos_token", "eos_token", "unk_token", "pad_token", "sep_token",
                          "cls_token", "mask_token"}) {
    if (const auto name = token_name(config, key)) names.insert(*name);
  }
  if (const auto more = config.find("additional_special_tokens")) {
    for (const JsonAt& item : more->items()) {
      names.insert(item.value().is_object() ? item.field("content").text() : item.text());
    }
  }
  return names;
}

TokenId parse_id(const std::string& digits, const JsonAt& where) {
  uint64_t id = 0;
  const char* end = digits.data() + digits.size();
  const auto [stop, error] = std::from_chars(digits.data(), end, id);
  if (error != std::errc() || stop != end || id > kMaxTokenId) {
    where.fail(fmt::format("'{}' is not the id of a token", digits));
  }
  return static_cast<TokenId>(id);
}

void add(const AddedToken& token, const JsonAt& where, TokensById& tokens) {
  if (token.content.empty()) where.fail("is a token without content");
  for (const auto& [id, other] : tokens) {
    if (id == token.id || other.content == token.content) {
      where.fail(fmt::format("token {} ('{}') contradicts token {} ('{}')", token.id, token.content,
                             id, other.content));
    }
  }
  tokens.emplace(token.id, token);
}

void read_config(const JsonAt& config, ExtraTokens& extra, TokensById& tokens) {
  if (const auto decoder = config.find("added_tokens_decoder")) {
    if (!decoder->value().is_object()) decoder->fail("is not an object");
    for (const auto& [key, unused] : decoder->value().items()) {
      const JsonAt item = decoder->field(key.c_str());
      add(parse_added_token(item, parse_id(key, item)), item, tokens);
    }
  }
  if (const auto add_bos = config.find("add_bos_token")) extra.add_bos = add_bos->flag();
  if (const auto add_eos = config.find("add_eos_token")) extra.add_eos = add_eos->flag();
  extra.bos = token_name(config, "bos_token");
  extra.eos = token_name(config, "eos_token");
  extra.legacy = config.flag_or("legacy", true);
}

// {"content": id}: no flags. What tokenizer_config.json names as special is special.
void read_added(const JsonAt& added, const std::set<std::string>& special, TokensById& tokens) {
  for (const auto& [content, unused] : added.value().items()) {
    const JsonAt item = added.field(content.c_str());
    if (item.count() > kMaxTokenId) item.fail("is not the id of a token");
    AddedToken token;
    token.content = content;
    token.id = static_cast<TokenId>(item.count());
    token.special = special.count(content) > 0;
    token.normalized = !token.special;
    const auto known = tokens.find(token.id);
    if (known == tokens.end() || known->second.content != content) add(token, item, tokens);
  }
}

}  // namespace

AddedToken parse_added_token(const JsonAt& json, TokenId id) {
  AddedToken token;
  token.content = json.field("content").text();
  token.id = id;
  token.single_word = json.flag_or("single_word", false);
  token.lstrip = json.flag_or("lstrip", false);
  token.rstrip = json.flag_or("rstrip", false);
  token.special = json.flag_or("special", false);
  token.normalized = json.flag_or("normalized", !token.special);
  return token;
}

std::string describe(const std::vector<AddedToken>& tokens) {
  std::string text;
  for (const AddedToken& token : tokens) {
    text += fmt::format("{} {}{}{}{}{} {}:{}\n", token.id, int{token.single_word},
                        int{token.lstrip}, int{token.rstrip}, int{token.normalized},
                        int{token.special}, token.content.size(), token.content);
  }
  return text;
}

ExtraTokens read_extra_tokens(const fs::path& folder) {
  ExtraTokens extra;
  TokensById tokens;
  std::set<std::string> special;
  const fs::path config_path = folder / "tokenizer_config.json";
  const fs::path added_path = folder / "added_tokens.json";
  extra.origin = config_path.string();
  if (fs::exists(config_path)) {
    const nlohmann::json config = parse_json_object(read_file(config_path), config_path.string());
    const JsonAt at(config, config_path.string());
    read_config(at, extra, tokens);
    special = special_names(at);
  }
  if (fs::exists(added_path)) {
    const nlohmann::json added = parse_json_object(read_file(added_path), added_path.string());
    read_added(JsonAt(added, added_path.string()), special, tokens);
    extra.origin += " or " + added_path.string();
  }
  for (const auto& [id, token] : tokens) extra.added.push_back(token);
  return extra;
}

}  // namespace molora
