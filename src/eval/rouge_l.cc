#include "eval/rouge_l.h"

#include <algorithm>
#include <cstdint>
#include <span>
#include <utility>

namespace molora {

namespace {

using Tokens = std::vector<std::string>;

struct CodePoint {
  uint32_t value = 0;
  size_t bytes = 1;
};

CodePoint code_point_at(std::string_view text, size_t at) {
  const auto byte = [&](size_t i) -> uint32_t {
    return at + i < text.size() ? static_cast<unsigned char>(text[at + i]) : 0x80u;
  };
  const uint32_t first = byte(0);
  if (first < 0x80) return {first, 1};
  if (first < 0xe0) return {((first & 0x1f) << 6) | (byte(1) & 0x3f), 2};
  if (first < 0xf0) {
    return {((first & 0x0f) << 12) | ((byte(1) & 0x3f) << 6) | (byte(2) & 0x3f), 3};
  }
  return {((first & 0x07) << 18) | ((byte(1) & 0x3f) << 12) | ((byte(2) & 0x3f) << 6) |
              (byte(3) & 0x3f),
          4};
}

using Range = std::pair<uint32_t, uint32_t>;

bool is_in(uint32_t c, std::span<const Range> ranges) {
  return std::any_of(ranges.begin(), ranges.end(),
                     [c](const Range& range) { return range.first <= c && c <= range.second; });
}

bool is_space(uint32_t c) {
  static constexpr Range kSpaces[] = {{0x09, 0x0d},     {0x1c, 0x20},     {0x85, 0x85},
                                      {0xa0, 0xa0},     {0x2000, 0x200a}, {0x2028, 0x2029},
                                      {0x202f, 0x202f}, {0x205f, 0x205f}, {0x3000, 0x3000}};
  return is_in(c, kSpaces);
}

// CJK ideographs; all punctuation and symbols of ASCII; of other blocks (Latin-1, general, CJK,
// full width) what Unicode calls punctuation.
bool stands_alone(uint32_t c) {
  static constexpr Range kAlone[] = {
      {0x21, 0x2f},      {0x3a, 0x40},     {0x5b, 0x60},     {0x7b, 0x7e},       {0xa1, 0xa1},
      {0xa7, 0xa7},      {0xab, 0xab},     {0xb6, 0xb7},     {0xbb, 0xbb},       {0xbf, 0xbf},
      {0x2010, 0x2027},  {0x2030, 0x2043}, {0x2045, 0x2051}, {0x2053, 0x205e},   {0x3001, 0x3003},
      {0x3008, 0x3011},  {0x3014, 0x301f}, {0x3030, 0x3030}, {0x303d, 0x303d},   {0x30fb, 0x30fb},
      {0x3400, 0x4dbf},  {0x4e00, 0x9fff}, {0xf900, 0xfaff}, {0xff01, 0xff03},   {0xff05, 0xff0a},
      {0xff0c, 0xff0f},  {0xff1a, 0xff1b}, {0xff1f, 0xff20}, {0xff3b, 0xff3d},   {0xff3f, 0xff3f},
      {0xff5b, 0xff5b},  {0xff5d, 0xff5d}, {0xff5f, 0xff65}, {0x20000, 0x2a6df}, {0x2a700, 0x2ceaf},
      {0x2f800, 0x2fa1f}};
  return is_in(c, kAlone);
}

size_t longest_common_subsequence(const Tokens& a, const Tokens& b) {
  std::vector<size_t> row(b.size() + 1, 0);  // of the tokens of `a` so far, by prefix of `b`
  for (const std::string& token : a) {
    size_t diagonal = 0;
    for (size_t j = 1; j <= b.size(); ++j) {
      const size_t above = row[j];
      row[j] = token == b[j - 1] ? diagonal + 1 : std::max(above, row[j - 1]);
      diagonal = above;
    }
  }
  return row.back();
}

Tokens tokens_or_none(std::string_view text) {
  Tokens tokens = rouge_tokens(text);
  if (tokens.empty()) tokens = {"\u65e0", "\u3002"};
  return tokens;
}

}  // namespace

std::vector<std::string> rouge_tokens(std::string_view text) {
  Tokens tokens;
  bool is_in_word = false;
  for (size_t at = 0; at < text.size();) {
    const CodePoint point = code_point_at(text, at);
    std::string token(text.substr(at, point.bytes));
    at += point.bytes;
    if (is_space(point.value)) {
      is_in_word = false;
    } else if (stands_alone(point.value)) {
      tokens.push_back(std::move(token));
      is_in_word = false;
    } else {
      if (point.value >= 'A' && point.value <= 'Z') token[0] = static_cast<char>(token[0] + 32);
      if (!is_in_word) tokens.emplace_back();
      tokens.back() += token;
      is_in_word = true;
    }
  }
  return tokens;
}

double rouge_l_f1(std::string_view answer, std::string_view reference) {
  const Tokens a = tokens_or_none(answer);
  const Tokens r = tokens_or_none(reference);
  const auto common = static_cast<double>(longest_common_subsequence(r, a));
  const double precision = common / static_cast<double>(a.size());
  const double recall = common / static_cast<double>(r.size());
  return 2.0 * ((precision * recall) / (precision + recall + 1e-8));
}

}  // namespace molora
