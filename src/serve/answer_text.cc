#include "serve/answer_text.h"

#include <algorithm>
#include <optional>
#include <string_view>
#include <utility>

namespace molora {

namespace {

struct Match {
  size_t begin = 0;
  size_t end = 0;
};

// The stop string in `text` that is complete first.
std::optional<Match> first_stop(const std::string& text, const std::vector<std::string>& stops) {
  std::optional<Match> first;
  for (const std::string& stop : stops) {
    const size_t begin = text.find(stop);
    if (begin == std::string::npos) continue;
    const Match match{begin, begin + stop.size()};
    if (!first || std::pair(match.end, match.begin) < std::pair(first->end, first->begin)) {
      first = match;
    }
  }
  return first;
}

}  // namespace

AnswerText::AnswerText(const Tokenizer& tokenizer, std::vector<std::string> stops)
    : decoder_(tokenizer.stream_decoder({.skip_special = true})), stops_(std::move(stops)) {}

std::string AnswerText::feed(TokenId id) { return is_stopped_ ? "" : take(decoder_->feed(id)); }

std::string AnswerText::finish() {
  if (is_stopped_) return {};
  const std::string text = take(decoder_->finish());
  return is_stopped_ ? text : text + std::exchange(held_, {});
}

std::string AnswerText::take(const std::string& text) {
  held_ += text;
  if (const auto match = first_stop(held_, stops_)) {
    is_stopped_ = true;
    return std::exchange(held_, {}).substr(0, match->begin);
  }
  const size_t certain = held_.size() - held_bytes();
  std::string piece = held_.substr(0, certain);
  held_.erase(0, certain);
  return piece;
}

// The longest end of the text with which a stop string begins. Both begin with the first byte of a
// character, so that no character is cut.
size_t AnswerText::held_bytes() const {
  size_t longest = 0;
  for (const std::string& stop : stops_) {
    for (size_t length = std::min(held_.size(), stop.size() - 1); length > longest; --length) {
      if (held_.ends_with(std::string_view(stop).substr(0, length))) longest = length;
    }
  }
  return longest;
}

}  // namespace molora
