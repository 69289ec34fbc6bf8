#include "tokenizer/text_pattern.h"

#include <nlohmann/json.hpp>

namespace molora {

namespace {

std::variant<std::string, Regex> parse_pattern(const JsonAt& json) {
  if (const auto regex = json.find("Regex")) return Regex(regex->text(), regex->where());
  const JsonAt fixed = json.field("String");
  if (fixed.text().empty()) fixed.fail("is empty, and would match between all characters");
  return fixed.text();
}

}  // namespace

TextPattern::TextPattern(const JsonAt& json) : what_(parse_pattern(json)) {}

std::vector<Span> TextPattern::find_all(std::string_view text) const {
  if (const Regex* regex = std::get_if<Regex>(&what_)) return regex->find_all(text);
  const std::string_view fixed = fixed_string();
  std::vector<Span> spans;
  for (size_t at = text.find(fixed); at != std::string_view::npos;
       at = text.find(fixed, at + fixed.size())) {
    spans.push_back({at, at + fixed.size()});
  }
  return spans;
}

std::string TextPattern::replace_all(std::string_view text, std::string_view content) const {
  std::string result;
  size_t done = 0;
  for (const Span& span : find_all(text)) {
    result += text.substr(done, span.begin - done);
    result += content;
    done = span.end;
  }
  result += text.substr(done);
  return result;
}

std::string_view TextPattern::fixed_string() const {
  const auto* fixed = std::get_if<std::string>(&what_);
  return fixed == nullptr ? std::string_view() : *fixed;
}

}  // namespace molora
