#include "tokenizer/added_tokens.h"

#include <algorithm>

#include <fmt/format.h>

#include "base/error.h"
#include "tokenizer/character_class.h"
#include "tokenizer/utf8.h"

namespace molora {

namespace {

bool stands_alone(std::string_view text, size_t begin, size_t end) {
  const bool joined_before = begin > 0 && is_word_character(code_point_before(text, begin).value);
  const bool joined_after = end < text.size() && is_word_character(code_point_at(text, end).value);
  return !joined_before && !joined_after;
}

size_t white_space_begin(std::string_view text, size_t end) {
  while (end > 0) {
    const CodePoint c = code_point_before(text, end);
    if (!is_white_space(c.value)) break;
    end -= c.bytes;
  }
  return end;
}

size_t white_space_end(std::string_view text, size_t begin) {
  while (begin < text.size()) {
    const CodePoint c = code_point_at(text, begin);
    if (!is_white_space(c.value)) break;
    begin += c.bytes;
  }
  return begin;
}

}  // namespace

bool AddedTokens::Tree::insert(std::string_view text, const AddedToken& token) {
  uint32_t node = 0;
  for (const char c : text) {
    const auto byte = static_cast<unsigned char>(c);
    const auto [child, is_new] = child_.try_emplace((uint64_t{node} << 8) | byte, last_node_ + 1);
    if (is_new) ++last_node_;
    node = child->second;
  }
  if (!token_of_.try_emplace(node, tokens_.size()).second) return false;
  tokens_.push_back(token);
  first_[static_cast<unsigned char>(text.front())] = true;
  return true;
}

AddedTokens::Tree::Match AddedTokens::Tree::longest(std::string_view text, size_t position) const {
  Match best;
  uint32_t node = 0;
  for (size_t i = position; i < text.size(); ++i) {
    const auto child = child_.find((uint64_t{node} << 8) | static_cast<unsigned char>(text[i]));
    if (child == child_.end()) break;
    node = child->second;
    const auto token = token_of_.find(node);
    if (token != token_of_.end()) best = {&tokens_[token->second], i + 1 - position};
  }
  return best;
}

AddedTokens::AddedTokens(const std::vector<AddedToken>& tokens, const Normalizer& normalizer,
                         const std::string& where) {
  for (const AddedToken& token : tokens) {
    std::string buffer;
    const std::string_view text =
        token.normalized ? normalizer.apply(token.content, buffer) : token.content;
    if (text.empty()) {
      throw DataError(fmt::format("{}: added token {} ('{}') is empty after normalization", where,
                                  token.id, token.content));
    }
    if (!(token.normalized ? normalized_ : raw_).insert(text, token)) {
      throw DataError(fmt::format("{}: added token {} ('{}') reads like another one", where,
                                  token.id, token.content));
    }
  }
}

void AddedTokens::split_raw(std::string_view text, SpecialTokens special,
                            std::vector<Part>& parts) const {
  split(raw_, text, special, parts);
}

void AddedTokens::split_normalized(std::string_view text, SpecialTokens special,
                                   std::vector<Part>& parts) const {
  split(normalized_, text, special, parts);
}

void AddedTokens::split(const Tree& tree, std::string_view text, SpecialTokens special,
                        std::vector<Part>& parts) {
  parts.clear();
  size_t done = 0;
  for (size_t position = 0; position < text.size() && !tree.empty();) {
    const Tree::Match match =
        tree.begins(text[position]) ? tree.longest(text, position) : Tree::Match{};
    if (match.token == nullptr) {
      ++position;
      continue;
    }
    // A match that is not wanted still takes its place: no other token is looked for within it.
    size_t begin = position;
    size_t end = position + match.length;
    position = end;
    if (special == SpecialTokens::kLiteral && match.token->special) continue;
    if (match.token->single_word && !stands_alone(text, begin, end)) continue;
    if (match.token->lstrip) begin = std::max(white_space_begin(text, begin), done);
    if (match.token->rstrip) end = white_space_end(text, end);
    if (done < begin) parts.push_back({text.substr(done, begin - done), -1});
    parts.push_back({text.substr(begin, end - begin), match.token->id});
    done = end;
  }
  if (done != text.size()) parts.push_back({text.substr(done), -1});
}

}  // namespace molora
