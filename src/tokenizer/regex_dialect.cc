#include "tokenizer/regex_dialect.h"

#include <algorithm>
#include <array>
#include <cctype>

namespace molora {

namespace {

constexpr std::string_view kAlikeEscapes = "rntfsSdD";
constexpr std::array<std::string_view, 38> kCategories = {
    "L",  "Lu", "Ll", "Lt", "Lm", "Lo", "M",  "Mn", "Mc", "Me", "N",  "Nd", "Nl",
    "No", "P",  "Pc", "Pd", "Ps", "Pe", "Pi", "Pf", "Po", "S",  "Sm", "Sc", "Sk",
    "So", "Z",  "Zs", "Zl", "Zp", "C",  "Cc", "Cf", "Co", "Cn", "Cs", "Any"};
constexpr std::array<std::string_view, 7> kAlikeGroups = {"?:",  "?i:", "?=", "?!",
                                                          "?<=", "?<!", "?>"};
// Oniguruma also folds these pairs of letters with ligatures and the sharp s when case is ignored.
constexpr std::array<std::string_view, 5> kFoldedPairs = {"ss", "st", "ff", "fi", "fl"};

class Dialect {
 public:
  explicit Dialect(std::string_view pattern) : pattern_(pattern) {}

  std::string difference() {
    while (position_ < pattern_.size()) {
      const size_t begin = position_;
      if (!(in_class_ ? read_in_class() : read_outside())) {
        const size_t end = std::max(position_, begin + 1);
        return std::string(pattern_.substr(begin, end - begin));
      }
    }
    return folded_pair();
  }

 private:
  std::string_view rest() const { return pattern_.substr(position_); }

  bool read_outside() {
    const char c = pattern_[position_];
    if (c == '\\') return read_escape();
    ++position_;
    switch (c) {
      case '[':
        in_class_ = true;
        if (rest().starts_with('^')) ++position_;
        return !rest().starts_with(']');  // a literal to one, an empty class to the other
      case '(':
        return read_group();
      case '^':
      case '$':
        return false;  // of each line to Oniguruma
      case '{':
        return !rest().starts_with(',');  // "at most" to Oniguruma, a literal to PCRE2
      case '}':
        return !rest().starts_with('+');  // possessive to PCRE2, a repeated repeat to Oniguruma
      default:
        return true;
    }
  }

  bool read_group() {
    if (!rest().starts_with('?') && !rest().starts_with('*')) return true;
    for (const std::string_view group : kAlikeGroups) {
      if (rest().starts_with(group)) {
        ignores_case_ = ignores_case_ || group == "?i:";
        position_ += group.size();
        return true;
      }
    }
    return false;
  }

  bool read_in_class() {
    const char c = pattern_[position_];
    if (c == '\\') return read_escape();
    ++position_;
    if (c == ']') in_class_ = false;
    return c != '[' && !(c == '&' && rest().starts_with('&'));
  }

  bool read_escape() {
    ++position_;
    if (position_ == pattern_.size()) return false;
    const char c = pattern_[position_++];
    if (c == 'p' || c == 'P') return read_category();
    const auto byte = static_cast<unsigned char>(c);
    if (std::isalnum(byte) == 0) return byte < 0x80;
    return kAlikeEscapes.find(c) != std::string_view::npos;
  }

  bool read_category() {
    const size_t close = pattern_.find('}', position_);
    if (!rest().starts_with('{') || close == std::string_view::npos) return false;
    std::string_view name = pattern_.substr(position_ + 1, close - position_ - 1);
    if (name.starts_with('^')) name.remove_prefix(1);
    position_ = close + 1;
    return std::find(kCategories.begin(), kCategories.end(), name) != kCategories.end();
  }

  std::string folded_pair() const {
    if (!ignores_case_) return "";
    std::string lower(pattern_);
    std::transform(lower.begin(), lower.end(), lower.begin(),
                   [](unsigned char c) { return static_cast<char>(std::tolower(c)); });
    for (const std::string_view pair : kFoldedPairs) {
      if (lower.find(pair) != std::string::npos) return "(?i: with " + std::string(pair);
    }
    return "";
  }

  std::string_view pattern_;
  size_t position_ = 0;
  bool in_class_ = false;
  bool ignores_case_ = false;
};

}  // namespace

std::string regex_difference(std::string_view pattern) { return Dialect(pattern).difference(); }

}  // namespace molora
