#include "eval/choice_question.h"

#include <algorithm>
#include <cctype>
#include <string_view>

#include "eval/choice_answer.h"

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
  return ChoiceQuestion{std::move(candidates), {*correct}, false};
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

// The option letters of the lines "A. ..", "B. ..", .., as far as they go on without a gap.
ChoiceQuestion option_lines(std::string_view question) {
  ChoiceQuestion result;
  result.are_letters = true;
  for (const std::string_view line : split_lines(question)) {
    const char expected = static_cast<char>('A' + result.candidates.size());
    if (option_letter(line) == expected) result.candidates.emplace_back(1, expected);
  }
  return result;
}

// `answer` as nothing but letters of the question, or as one of them and more. Empty: neither.
std::vector<size_t> answer_letters(std::string_view answer, const ChoiceQuestion& question) {
  answer = without_stop(answer);
  std::vector<size_t> letters;
  for (const std::string& part : split(answer, {",", kCommaZh, kListCommaZh, ";", "/", " "})) {
    for (const char c : part) {
      const auto index = index_of(question.candidates, std::string_view(&c, 1));
      if (!index || (!letters.empty() && *index <= letters.back())) {
        letters.clear();
        break;
      }
      letters.push_back(*index);
    }
    if (letters.empty()) break;
  }
  if (!letters.empty()) return letters;
  if (answer.empty() || (answer.size() > 1 && is_word_byte(answer[1]))) return {};
  const auto first = index_of(question.candidates, answer.substr(0, 1));
  return first ? std::vector<size_t>{*first} : std::vector<size_t>();
}

std::optional<ChoiceQuestion> by_letters(std::string_view question, std::string_view answer) {
  ChoiceQuestion result = option_lines(question);
  if (result.candidates.size() < 2) return std::nullopt;
  result.correct = answer_letters(answer, result);
  if (result.correct.empty()) result.correct = stated_letters(answer, result.candidates.size());
  if (result.correct.empty()) return std::nullopt;
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

std::optional<ChoiceQuestion> explicit_question(const Conversation& conversation,
                                                std::string_view question) {
  if (!conversation.answer) return std::nullopt;
  const std::string_view answer = trimmed(*conversation.answer);
  ChoiceQuestion result = option_lines(question);
  if (conversation.choices) {
    result.candidates.clear();
    for (size_t i = 0; i < std::min<size_t>(conversation.choices->size(), 26); ++i) {
      result.candidates.emplace_back(1, static_cast<char>('A' + i));
    }
    if (index_of(*conversation.choices, without_stop(answer))) {
      return from_list(*conversation.choices, answer);
    }
  }
  if (result.candidates.size() < 2) return std::nullopt;
  result.correct = answer_letters(answer, result);
  if (result.correct.empty()) return std::nullopt;
  return result;
}

}  // namespace

std::optional<ChoiceQuestion> choice_question(const Conversation& conversation) {
  const std::vector<Turn>& turns = conversation.turns;
  if (turns.size() < 2 || turns.back().role != Role::kAssistant) return std::nullopt;
  const Turn& question = turns[turns.size() - 2];
  const std::string& answer = turns.back().text;
  if (question.role != Role::kUser) return std::nullopt;
  if (auto found = explicit_question(conversation, question.text)) return found;
  if (auto found = by_letters(question.text, answer)) return found;
  if (auto found = by_named_list(question.text, answer)) return found;
  return by_options_line(question.text, answer);
}

std::optional<ChoiceQuestion> question_among(const Conversation& conversation,
                                             const std::vector<std::string>& candidates) {
  std::vector<std::string> different;
  for (const std::string& candidate : candidates) {
    if (!index_of(different, candidate)) different.push_back(candidate);
  }
  return from_list(std::move(different), conversation.turns.back().text);
}

}  // namespace molora
