#include "data/json_elements.h"

#include <algorithm>
#include <utility>

#include <fmt/format.h>

#include "base/error.h"

namespace molora {

namespace {

constexpr std::string_view kByteOrderMark = "\xef\xbb\xbf";
constexpr std::string_view kBlanks = " \t\r\n";

std::string_view trimmed(std::string_view text) {
  const size_t first = text.find_first_not_of(kBlanks);
  if (first == std::string_view::npos) return {};
  return text.substr(first, text.find_last_not_of(kBlanks) - first + 1);
}

}  // namespace

JsonElements::JsonElements(std::string_view text, Layout layout, std::string origin)
    : text_(text), layout_(layout), origin_(std::move(origin)) {
  if (text_.substr(0, kByteOrderMark.size()) == kByteOrderMark) position_ = kByteOrderMark.size();
}

std::optional<JsonElement> JsonElements::next() {
  return layout_ == Layout::kLines ? next_line() : next_of_array();
}

void JsonElements::fail(uint64_t line, const std::string& what) const {
  throw DataError(fmt::format("{}:{}: {}", origin_, line, what));
}

std::optional<JsonElement> JsonElements::next_line() {
  while (position_ < text_.size()) {
    const size_t end = std::min(text_.find('\n', position_), text_.size());
    const JsonElement element{trimmed(text_.substr(position_, end - position_)), line_};
    advance_to(std::min(end + 1, text_.size()));
    if (!element.text.empty()) return element;
  }
  return std::nullopt;
}

std::optional<JsonElement> JsonElements::next_of_array() {
  if (place_ == Place::kBefore) open_array();
  if (place_ == Place::kAfter) return std::nullopt;
  skip_blanks();
  const bool is_first = std::exchange(place_, Place::kLater) == Place::kFirst;
  if (is_first && position_ < text_.size() && text_[position_] == ']') {
    close_array();
    return std::nullopt;
  }
  const size_t end = end_of_element();
  const JsonElement element{trimmed(text_.substr(position_, end - position_)), line_};
  if (end == text_.size()) {
    fail(line_, element.text.empty()
                    ? "expected a sample or the ] that ends the array, got the end of the file: "
                      "it is truncated"
                    : "the sample that begins here does not end: a quote or bracket is missing, "
                      "or the file is truncated");
  }
  if (element.text.empty()) fail(line_, fmt::format("expected a sample, got {}", got()));
  advance_to(end);
  if (text_[position_] == ']') {
    close_array();
  } else {
    ++position_;
  }
  return element;
}

void JsonElements::open_array() {
  skip_blanks();
  if (position_ == text_.size() || text_[position_] != '[') {
    fail(line_, fmt::format("expected [, the beginning of one array of samples, got {}; a file "
                            "with one sample a line is named .jsonl",
                            got()));
  }
  ++position_;
  place_ = Place::kFirst;
}

void JsonElements::close_array() {
  ++position_;
  skip_blanks();
  if (position_ < text_.size()) {
    fail(line_, fmt::format("expected the end of the file after the array, got {}", got()));
  }
  place_ = Place::kAfter;
}

void JsonElements::skip_blanks() {
  advance_to(std::min(text_.find_first_not_of(kBlanks, position_), text_.size()));
}

size_t JsonElements::end_of_element() const {
  size_t depth = 0;
  bool in_string = false;
  for (size_t i = position_; i < text_.size(); ++i) {
    const char c = text_[i];
    if (in_string) {
      if (c == '\\') ++i;
      in_string = c != '"';
    } else if (c == '"') {
      in_string = true;
    } else if (c == '{' || c == '[') {
      ++depth;
    } else if (depth == 0 && (c == ',' || c == ']')) {
      return i;
    } else if (depth > 0 && (c == '}' || c == ']')) {
      --depth;
    }
  }
  return text_.size();
}

void JsonElements::advance_to(size_t position) {
  const std::string_view passed = text_.substr(position_, position - position_);
  line_ += static_cast<uint64_t>(std::count(passed.begin(), passed.end(), '\n'));
  position_ = position;
}

std::string JsonElements::got() const {
  if (position_ == text_.size()) return "the end of the file";
  const char c = text_[position_];
  const bool is_printable = c > ' ' && c < '\x7f';
  return is_printable ? std::string(1, c)
                      : fmt::format("byte 0x{:02x}", static_cast<unsigned char>(c));
}

}  // namespace molora
