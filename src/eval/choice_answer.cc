#include "eval/choice_answer.h"

#include <algorithm>
#include <cctype>
#include <optional>
#include <string_view>

namespace molora {

namespace {

using Indices = std::vector<size_t>;

// "the answer is" and the like in Chinese; "right", "wrong", "wrong, which is the right answer
// here".
constexpr std::string_view kAnswerIs[] = {"\u7b54\u6848\u4e3a", "\u7b54\u6848\u662f"};
constexpr std::string_view kAnswerIsEn = "the answer is";
constexpr std::string_view kRight = "\u5bf9";
constexpr std::string_view kWrongAsAsked = "\u9519\uff0c\u4e3a\u672c\u9898\u6b63\u786e\u7b54\u6848";
// What may stand between the letters of a list, besides blanks.
constexpr std::string_view kBetween[] = {",", "\u3001", "\uff0c", ";",      "\uff1b", "/",
                                         "&", "+",      "and",    "\u548c", "\u4e0e", "\u53ca"};

bool is_word_byte(char c) {
  const auto byte = static_cast<unsigned char>(c);
  return byte < 0x80 && std::isalnum(byte) != 0;
}

std::string lower_ascii(std::string_view text) {
  std::string lower(text);
  std::transform(lower.begin(), lower.end(), lower.begin(),
                 [](unsigned char c) { return static_cast<char>(std::tolower(c)); });
  return lower;
}

// Whether the part of `text` is not a piece of a longer word. Where the part itself begins or ends
// with something else than an ASCII letter or digit (Chinese), there are no word limits to respect.
bool is_own_word(std::string_view text, size_t at, size_t length) {
  const size_t end = at + length;
  const bool begins = at == 0 || !is_word_byte(text[at - 1]) || !is_word_byte(text[at]);
  const bool ends = end >= text.size() || !is_word_byte(text[end]) || !is_word_byte(text[end - 1]);
  return begins && ends;
}

// The letters of a question, "A" to ..
class Letters {
 public:
  explicit Letters(size_t number) : number_(number) {}

  bool has(char c) const { return c >= 'A' && static_cast<size_t>(c - 'A') < number_; }

  // Bytes of the word at `at` when it is made of different letters alone ("B", "ABD"); else 0.
  size_t word_at(std::string_view text, size_t at) const {
    if (at > 0 && is_word_byte(text[at - 1])) return 0;
    size_t end = at;
    while (end < text.size() && is_word_byte(text[end])) {
      if (!has(text[end]) || text.substr(at, end - at).find(text[end]) != std::string_view::npos) {
        return 0;
      }
      ++end;
    }
    return end - at;
  }

  // The first such word of `text` and those that are listed with it.
  Indices first_list(std::string_view text) const {
    size_t at = 0;
    while (at < text.size() && word_at(text, at) == 0) ++at;
    Indices found;
    while (at < text.size()) {
      const size_t length = word_at(text, at);
      if (length == 0) break;
      for (const char c : text.substr(at, length)) found.push_back(static_cast<size_t>(c - 'A'));
      at = after_separators(text, at + length);
    }
    return ascending(found);
  }

  // Letters before each `verdict`.
  Indices judged(std::string_view text, std::string_view verdict) const {
    Indices found;
    for (size_t at = text.find(verdict); at != std::string_view::npos;
         at = text.find(verdict, at + 1)) {
      if (at > 0 && has(text[at - 1]) && (at == 1 || !is_word_byte(text[at - 2]))) {
        found.push_back(static_cast<size_t>(text[at - 1] - 'A'));
      }
    }
    return ascending(found);
  }

 private:
  static Indices ascending(Indices list) {
    std::sort(list.begin(), list.end());
    list.erase(std::unique(list.begin(), list.end()), list.end());
    return list;
  }

  static size_t after_separators(std::string_view text, size_t at) {
    while (at < text.size()) {
      if (text[at] == ' ') {
        ++at;
        continue;
      }
      const auto* between =
          std::find_if(std::begin(kBetween), std::end(kBetween),
                       [&](std::string_view word) { return text.substr(at).starts_with(word); });
      if (between == std::end(kBetween)) break;
      at += between->size();
    }
    return at;
  }

  size_t number_;
};

// What follows the last "the answer is", up to the end of the line or sentence.
std::optional<std::string_view> statement(std::string_view answer) {
  const std::string lower = lower_ascii(answer);
  size_t begin = std::string::npos;
  const auto look_for = [&](std::string_view words) {
    const size_t at = lower.rfind(words);
    if (at == std::string::npos) return;
    begin = begin == std::string::npos ? at + words.size() : std::max(begin, at + words.size());
  };
  for (const std::string_view words : kAnswerIs) look_for(words);
  look_for(kAnswerIsEn);
  if (begin == std::string::npos) return std::nullopt;
  std::string_view rest = answer.substr(begin);
  for (const std::string_view end : {"\n", ".", "\u3002"}) rest = rest.substr(0, rest.find(end));
  return rest;
}

Indices named_letters(const std::string& answer, size_t number) {
  const Letters letters(number);
  if (Indices found = stated_letters(answer, number); !found.empty()) return found;
  for (const std::string_view verdict : {kWrongAsAsked, kRight}) {
    if (Indices found = letters.judged(answer, verdict); !found.empty()) return found;
  }
  return letters.first_list(answer);
}

std::optional<size_t> first_named(const std::string& answer,
                                  const std::vector<std::string>& candidates) {
  const std::string text = lower_ascii(answer);
  std::optional<size_t> best;
  size_t best_at = std::string::npos;
  size_t best_length = 0;
  for (size_t i = 0; i < candidates.size(); ++i) {
    const std::string candidate = lower_ascii(candidates[i]);
    size_t at = text.find(candidate);
    while (at != std::string::npos && !is_own_word(text, at, candidate.size())) {
      at = text.find(candidate, at + 1);
    }
    if (at == std::string::npos) continue;
    if (at < best_at || (at == best_at && candidate.size() > best_length)) {
      best = i;
      best_at = at;
      best_length = candidate.size();
    }
  }
  return best;
}

}  // namespace

std::vector<size_t> stated_letters(std::string_view answer, size_t num_options) {
  const auto stated = statement(answer);
  return stated ? Letters(num_options).first_list(*stated) : Indices();
}

std::vector<size_t> named_candidates(const std::string& answer, const ChoiceQuestion& question) {
  if (question.are_letters) return named_letters(answer, question.candidates.size());
  const auto named = first_named(answer, question.candidates);
  return named ? std::vector<size_t>{*named} : std::vector<size_t>();
}

}  // namespace molora
