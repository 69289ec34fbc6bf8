#include "tokenizer/pre_tokenizer.h"

#include <algorithm>

#include <fmt/format.h>

#include "tokenizer/utf8.h"

namespace molora {

namespace {

constexpr int kMaxDepth = 16;
constexpr size_t kMaxSteps = 64;

// What ByteLevel splits on when its file gives no expression of its own (GPT-2).
constexpr std::string_view kByteLevelPattern =
    R"('s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+)";
// Numeric characters; the reference library knows 13 from later versions of Unicode here than
// in its regular expressions.
constexpr std::string_view kDigitPattern =
    "[\\p{N}\xF0\x91\xB7\xA0-\xF0\x91\xB7\xA9\xF0\x96\xBF\xB4-\xF0\x96\xBF\xB6]";

std::string spaces_replaced(std::string_view text, std::string_view mark) {
  std::string result;
  for (const char c : text) {
    if (c == ' ') {
      result += mark;
    } else {
      result += c;
    }
  }
  return result;
}

}  // namespace

PreTokenizer::PreTokenizer(const JsonAt& json) { parse(json, 0); }

void PreTokenizer::parse(const JsonAt& json, int depth) {
  const std::string& type = json.field("type").text();
  if (depth > kMaxDepth || steps_.size() > kMaxSteps) json.fail("is nested too deeply");
  if (byte_level_ && type != "Sequence") json.fail(type + " after ByteLevel is not supported");
  if (type == "Sequence") {
    for (const JsonAt& item : json.field("pretokenizers").items()) parse(item, depth + 1);
  } else if (type == "ByteLevel") {
    parse_byte_level(json);
  } else if (type == "Metaspace") {
    parse_metaspace(json);
  } else if (type == "Split") {
    parse_split(json);
  } else if (type == "Digits") {
    const bool individual = json.field("individual_digits").flag();
    steps_.emplace_back(Split{TextPattern(Regex(kDigitPattern, json.where())),
                              individual ? Behavior::kIsolated : Behavior::kContiguous});
  } else {
    json.fail(
        fmt::format("pre-tokenizer {} is not supported (ByteLevel, Digits, Metaspace, "
                    "Split, Sequence are)",
                    type));
  }
}

void PreTokenizer::parse_byte_level(const JsonAt& json) {
  byte_level_ = true;
  if (json.field("add_prefix_space").flag()) steps_.emplace_back(Prefix{" "});
  if (json.flag_or("use_regex", true)) {
    steps_.emplace_back(Split{TextPattern(Regex(kByteLevelPattern, json.where()))});
  }
}

void PreTokenizer::parse_metaspace(const JsonAt& json) {
  if (asks_for_beginning() || std::any_of(steps_.begin(), steps_.end(), [](const Step& step) {
        return std::holds_alternative<Prefix>(step);
      })) {
    json.fail("Metaspace after another pre-tokenizer that adds text is not supported");
  }
  Prefix prefix{json.field("replacement").text(), PrependScheme::kAlways, true};
  if (prefix.mark.empty() || code_point_at(prefix.mark, 0).bytes != prefix.mark.size()) {
    json.field("replacement").fail("is not one character");
  }
  const std::string scheme = json.text_or("prepend_scheme", "always");
  if (scheme == "first") {
    prefix.scheme = PrependScheme::kFirst;
  } else if (scheme == "never") {
    prefix.scheme = PrependScheme::kNever;
  } else if (scheme != "always") {
    json.fail(fmt::format("prepend_scheme '{}' is none of always, first, never", scheme));
  }
  if (!json.flag_or("add_prefix_space", true) && prefix.scheme != PrependScheme::kNever) {
    json.fail("add_prefix_space is false, which contradicts prepend_scheme");
  }
  const std::string mark = prefix.mark;
  steps_.emplace_back(std::move(prefix));
  if (json.flag_or("split", true)) {
    steps_.emplace_back(Split{TextPattern(mark), Behavior::kMergedWithNext});
  }
}

void PreTokenizer::parse_split(const JsonAt& json) {
  steps_.emplace_back(Split{TextPattern(json.field("pattern")), behavior_of(json.field("behavior")),
                            json.field("invert").flag()});
}

PreTokenizer::Behavior PreTokenizer::behavior_of(const JsonAt& json) {
  const std::string& name = json.text();
  if (name == "Removed") return Behavior::kRemoved;
  if (name == "Isolated") return Behavior::kIsolated;
  if (name == "MergedWithPrevious") return Behavior::kMergedWithPrevious;
  if (name == "MergedWithNext") return Behavior::kMergedWithNext;
  if (name == "Contiguous") return Behavior::kContiguous;
  json.fail(fmt::format("'{}' is not a way to split", name));
}

bool PreTokenizer::asks_for_beginning() const {
  return std::any_of(steps_.begin(), steps_.end(), [](const Step& step) {
    const auto* prefix = std::get_if<Prefix>(&step);
    return prefix != nullptr && prefix->scheme == PrependScheme::kFirst;
  });
}

void PreTokenizer::split(const Words::Word& text, Words& words) const {
  words.changed.clear();
  words.list.assign(1, text);
  std::vector<Words::Word> next;
  for (const Step& step : steps_) {
    next.clear();
    for (const Words::Word& word : words.list) {
      if (const auto* split = std::get_if<Split>(&step)) {
        apply(*split, word, next);
      } else {
        apply(std::get<Prefix>(step), word, words, next);
      }
    }
    words.list.swap(next);
  }
}

void PreTokenizer::apply(const Prefix& prefix, const Words::Word& word, Words& words,
                         std::vector<Words::Word>& out) {
  std::string text =
      prefix.replaces_spaces ? spaces_replaced(word.text, prefix.mark) : std::string(word.text);
  const bool wanted = prefix.scheme == PrependScheme::kAlways ||
                      (prefix.scheme == PrependScheme::kFirst && word.begins_input);
  if (wanted && !text.starts_with(prefix.mark)) text.insert(0, prefix.mark);
  words.changed.push_back(std::move(text));
  out.push_back({words.changed.back(), word.begins_input});
}

void PreTokenizer::apply(const Split& split, const Words::Word& word,
                         std::vector<Words::Word>& out) {
  for (const Span& span : joined(parts_of(word.text, split), split.behavior)) {
    if (span.begin == span.end) continue;
    out.push_back({word.text.substr(span.begin, span.end - span.begin),
                   word.begins_input && span.begin == 0});
  }
}

// Matches and what lies between them, covering the whole text.
std::vector<PreTokenizer::Part> PreTokenizer::parts_of(std::string_view text, const Split& split) {
  std::vector<Part> parts;
  size_t done = 0;
  for (const Span& match : split.pattern.find_all(text)) {
    if (done != match.begin) parts.push_back({{done, match.begin}, split.invert});
    parts.push_back({match, !split.invert});
    done = match.end;
  }
  if (done != text.size()) parts.push_back({{done, text.size()}, split.invert});
  return parts;
}

std::vector<Span> PreTokenizer::joined(const std::vector<Part>& parts, Behavior behavior) {
  std::vector<Span> spans;
  bool previous_match = false;
  const auto join_forward = [&](const Part& part, bool joins) {
    if (joins && !spans.empty()) {
      spans.back().end = part.span.end;
    } else {
      spans.push_back(part.span);
    }
    previous_match = part.is_match;
  };
  if (behavior == Behavior::kMergedWithNext) {
    for (auto part = parts.rbegin(); part != parts.rend(); ++part) {
      if (part->is_match && !previous_match && !spans.empty()) {
        spans.back().begin = part->span.begin;
      } else {
        spans.push_back(part->span);
      }
      previous_match = part->is_match;
    }
    std::reverse(spans.begin(), spans.end());
    return spans;
  }
  for (const Part& part : parts) {
    switch (behavior) {
      case Behavior::kRemoved:
        if (!part.is_match) spans.push_back(part.span);
        break;
      case Behavior::kMergedWithPrevious:
        join_forward(part, part.is_match && !previous_match);
        break;
      case Behavior::kContiguous:
        join_forward(part, part.is_match == previous_match);
        break;
      default:
        spans.push_back(part.span);
        break;
    }
  }
  return spans;
}

}  // namespace molora
