#include "eval/choice_question.h"

#include <algorithm>
#include <cctype>
#include <string_view>

namespace molora {

namespace {

// Chinese words and punctuation as UTF-8.
constexpr std::string_view kOptionsZh = "\xe9\x80\x89\xe9\xa1\xb9";  // "options"
constexpr std::string_view kColonZh = "\xef\xbc\x9a";
constexpr std::string_view kCommaZh = "\xef\xbc\x8c";
constexpr std::string_view kListCommaZh = "\xe3\x80\x81";
constexpr std::string_view kStopZh = "\xe3\x80\x82";

bool is_word_byte(char c) {
  const auto byte = static_cast<unsigned char>(c);
  return byte < 0x80 && std::isalnum(byte) != 0;
}

std::string_view trimmed(std::string_view text) {
  const auto is_space = [](char c) { return std::isspace(static_cast<unsigned char>(c)) != 0; };
  while (!text.empty() && is_space(text.front())) text.remove_prefix(1);
  while (!text.empty() && is_space(text.back())) text.remove_suffix(1);
  return text;
}

std::string lower_ascii(std::string_view text) {
  std::string lower(text);
  std::transform(lower.begin(), lower.end(), lower.begin(),
                 [](unsigned char c) { return static_cast<char>(std::tolower(c)); });
  return lower;
}

std::vector<std::string_view> split_lines(std::string_view text) {
  std::vector<std::string_view> lines;
  while (true) {
    const size_t end = text.find('\n');
    lines.push_back(text.substr(0, end));
    if (end == std::string_view::npos) return lines;
    text.remove_prefix(end + 1);
  }
}

// Cuts `text` at every occurrence of one of `separators`; parts are trimmed, empty ones left out.
std::vector<std::string> split(std::string_view text,
                               const std::vector<std::string_view>& separators) {
  std::vector<std::string> parts;
  size_t begin = 0;
  for (size_t at = 0; at <= text.size();) {
    size_t cut = at == text.size() ? 1 : 0;
    for (const std::string_view separator : separators) {
      if (text.substr(at).starts_with(separator)) cut = std::max(cut, separator.size());
    }
    if (cut == 0) {
      ++at;
      continue;
    }
    const std::string_view part = trimmed(text.substr(begin, at - begin));
    if (!part.empty()) parts.emplace_back(part);
    at += cut;
    begin = std::min(at, text.size());
  }
  return parts;
}

std::optional<size_t> index_of(const std::vector<std::string>& list, std::string_view text) {
  const auto found = std::find(list.begin(), list.end(), text);
  if (found == list.end()) return std::nullopt;
  return static_cast<size_t>(found - list.begin());
}

// Without the full stop that an answer may end with.
std::string_view without_stop(std::string_view text) {
  text = trimmed(text);
  if (text.ends_with('.')) text.remove_suffix(1);
  if (text.ends_with(kStopZh)) text.remove_suffix(kStopZh.size());
  return text;
}

std::optional<ChoiceQuestion> from_list(std::vector<std::string> candidates,
                                        std::string_view answer) {
  if (candidates.size() < 2) return std::nullopt;
  const auto correct = index_of(candidates, without_stop(answer));
  if (!correct) return std::nullopt;
  return ChoiceQuestion{std::move(candidates), *correct, false};
}

// "B. text", "B) text", "B: text" and the full-width forms; the letter, or 0.
char option_letter(std::string_view line) {
  line = trimmed(line);
  if (line.starts_with('(')) line.remove_prefix(1);
  if (line.size() < 2 || line[0] < 'A' || line[0] > 'Z') return 0;
  const std::string_view rest = line.substr(1);
  const bool is_marked = rest[0] == '.' || rest[0] == ')' || rest[0] == ':' ||
                         rest.starts_with(kColonZh) || rest.starts_with(kListCommaZh) ||
                         rest.starts_with("\xef\xbc\x8e") || rest.starts_with("\xef\xbc\x89");
  return is_marked ? line[0] : static_cast<char>(0);
}

std::optional<ChoiceQuestion> by_letters(std::string_view question, std::string_view answer) {
  ChoiceQuestion result;
  result.are_letters = true;
  for (const std::string_view line : split_lines(question)) {
    const char expected = static_cast<char>('A' + result.candidates.size());
    if (option_letter(line) == expected) result.candidates.emplace_back(1, expected);
  }
  if (result.candidates.size() < 2) return std::nullopt;
  answer = trimmed(answer);
  if (answer.empty() || (answer.size() > 1 && is_word_byte(answer[1]))) return std::nullopt;
  const auto correct = index_of(result.candidates, answer.substr(0, 1));
  if (!correct) return std::nullopt;
  result.correct = *correct;
  return result;
}

// "... Answer yes, no or maybe."
std::optional<ChoiceQuestion> by_named_list(std::string_view question, std::string_view answer) {
  constexpr std::string_view kAnswer = "answer ";
  const std::string_view last = without_stop(split_lines(trimmed(question)).back());
  const size_t at = lower_ascii(last).rfind(kAnswer);
  if (at == std::string::npos) return std::nullopt;
  return from_list(split(last.substr(at + kAnswer.size()), {", or ", " or ", ","}), answer);
}

std::optional<ChoiceQuestion> by_options_line(std::string_view question, std::string_view answer) {
  for (const std::string_view line : split_lines(question)) {
    const std::string_view text = trimmed(line);
    std::string_view rest;
    if (text.starts_with(kOptionsZh)) {
      rest = text.substr(kOptionsZh.size());
    } else if (lower_ascii(text).starts_with("options")) {
      rest = text.substr(std::string_view("options").size());
    }
    if (rest.starts_with(kColonZh)) {
      rest.remove_prefix(kColonZh.size());
    } else if (rest.starts_with(':')) {
      rest.remove_prefix(1);
    } else {
      continue;
    }
    return from_list(split(without_stop(rest), {kCommaZh, kListCommaZh, ",", ";"}), answer);
  }
  return std::nullopt;
}

std::optional<ChoiceQuestion> explicit_question(const Conversation& conversation) {
  if (!conversation.choices || !conversation.answer) return std::nullopt;
  const std::vector<std::string>& choices = *conversation.choices;
  const std::string_view answer = trimmed(*conversation.answer);
  const bool is_letter = answer.size() == 1 && answer[0] >= 'A' && answer[0] <= 'Z' &&
                         static_cast<size_t>(answer[0] - 'A') < choices.size();
  if (!is_letter) return from_list(choices, answer);
  if (choices.size() < 2) return std::nullopt;
  ChoiceQuestion result;
  result.are_letters = true;
  for (size_t i = 0; i < std::min<size_t>(choices.size(), 26); ++i) {
    result.candidates.emplace_back(1, static_cast<char>('A' + i));
  }
  result.correct = static_cast<size_t>(answer[0] - 'A');
  return result;
}

// Whether the part of `text` is not a piece of a longer word. Where the part itself begins or ends
// with something else than an ASCII letter or digit (Chinese), there are no word limits to respect.
bool is_own_word(std::string_view text, size_t at, size_t length) {
  const size_t end = at + length;
  const bool begins = at == 0 || !is_word_byte(text[at - 1]) || !is_word_byte(text[at]);
  const bool ends = end >= text.size() || !is_word_byte(text[end]) || !is_word_byte(text[end - 1]);
  return begins && ends;
}

}  // namespace

std::optional<ChoiceQuestion> choice_question(const Conversation& conversation) {
  const std::vector<Turn>& turns = conversation.turns;
  if (turns.size() < 2 || turns.back().role != Role::kAssistant) return std::nullopt;
  const Turn& question = turns[turns.size() - 2];
  const std::string& answer = turns.back().text;
  if (question.role != Role::kUser) return std::nullopt;
  if (auto found = explicit_question(conversation)) return found;
  if (auto found = by_letters(question.text, answer)) return found;
  if (auto found = by_named_list(question.text, answer)) return found;
  return by_options_line(question.text, answer);
}

std::optional<size_t> named_candidate(const std::string& answer, const ChoiceQuestion& question) {
  // Letters are matched as they are ("a" is a word); other candidates whatever their case.
  const std::string text = question.are_letters ? answer : lower_ascii(answer);
  std::optional<size_t> best;
  size_t best_at = std::string::npos;
  size_t best_length = 0;
  for (size_t i = 0; i < question.candidates.size(); ++i) {
    const std::string candidate =
        question.are_letters ? question.candidates[i] : lower_ascii(question.candidates[i]);
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

}  // namespace molora
