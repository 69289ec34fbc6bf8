#include "tokenizer/token_template.h"

#include <fmt/format.h>

#include "tokenizer/vocabulary.h"

namespace molora {

namespace {

constexpr int kMaxDepth = 16;
constexpr size_t kMaxTokens = 1024;

void append_token(const JsonAt& json, const JsonAt& piece, std::vector<TokenId>& ids) {
  const std::string& name = piece.field("id").text();
  const auto token = json.field("special_tokens").find(name.c_str());
  if (!token) piece.fail(fmt::format("'{}' is not among the special_tokens", name));
  for (const JsonAt& id : token->field("ids").items()) {
    if (id.count() > kMaxTokenId) id.fail("is too large for the id of a token");
    ids.push_back(static_cast<TokenId>(id.count()));
  }
}

// The text is "A"; what stands before and after it goes around what `inner` already has.
void apply_template(const JsonAt& json, TokenTemplate& inner) {
  TokenTemplate outer;
  int num_texts = 0;
  for (const JsonAt& piece : json.field("single").items()) {
    if (const auto token = piece.find("SpecialToken")) {
      append_token(json, *token, num_texts == 0 ? outer.before : outer.after);
    } else {
      const std::string& name = piece.field("Sequence").field("id").text();
      if (name != "A") piece.fail(fmt::format("sequence {} in a template for one text", name));
      ++num_texts;
    }
  }
  if (num_texts != 1) json.field("single").fail("does not hold the text exactly once");
  inner.before.insert(inner.before.begin(), outer.before.begin(), outer.before.end());
  inner.after.insert(inner.after.end(), outer.after.begin(), outer.after.end());
  if (inner.before.size() + inner.after.size() > kMaxTokens) json.fail("adds too many tokens");
}

void apply_processor(const JsonAt& json, TokenTemplate& inner, int depth) {
  const std::string& type = json.field("type").text();
  if (depth > kMaxDepth) json.fail("is nested too deeply");
  if (type == "Sequence") {
    for (const JsonAt& item : json.field("processors").items()) {
      apply_processor(item, inner, depth + 1);
    }
  } else if (type == "TemplateProcessing") {
    apply_template(json, inner);
  } else if (type != "ByteLevel") {  // ByteLevel only moves offsets, which are not asked for here
    json.fail(
        fmt::format("post-processor {} is not supported (ByteLevel, TemplateProcessing, "
                    "Sequence are)",
                    type));
  }
}

}  // namespace

TokenTemplate parse_token_template(const JsonAt& json) {
  TokenTemplate result;
  apply_processor(json, result, 0);
  return result;
}

}  // namespace molora
