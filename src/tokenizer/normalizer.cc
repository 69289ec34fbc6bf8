#include "tokenizer/normalizer.h"

#include <algorithm>
#include <memory>
#include <new>
#include <type_traits>

#include <fmt/format.h>
#include <utf8proc.h>

#include "base/check.h"
#include "tokenizer/character_class.h"
#include "tokenizer/unicode_versions.h"
#include "tokenizer/utf8.h"

namespace molora {

namespace {

constexpr int kMaxDepth = 16;
constexpr size_t kMaxSteps = 64;

std::optional<Normalizer::Form> form_of(std::string_view type) {
  using Form = Normalizer::Form;
  if (type == "NFC") return Form::kNfc;
  if (type == "NFD") return Form::kNfd;
  if (type == "NFKC") return Form::kNfkc;
  if (type == "NFKD") return Form::kNfkd;
  return std::nullopt;
}

// Characters that every form keeps, wherever they stand. In NFC that is all below U+0300, and the
// bulk of Chinese text; the other forms take accented letters apart.
bool is_kept(char32_t c, Normalizer::Form form) {
  if (c < 0x80) return true;
  if (c >= 0x4E00 && c <= 0x9FFF) return true;
  return form == Normalizer::Form::kNfc && (c < 0x300 || (c >= 0xFF01 && c <= 0xFF60));
}

bool is_all_kept(std::string_view text, Normalizer::Form form) {
  for (size_t position = 0; position < text.size();) {
    const CodePoint c = code_point_at(text, position);
    if (!is_kept(c.value, form)) return false;
    position += c.bytes;
  }
  return true;
}

void append_normalized(std::string_view text, Normalizer::Form form, std::string& out) {
  using Form = Normalizer::Form;
  if (text.empty()) return;
  int options = UTF8PROC_STABLE;
  options |= form == Form::kNfc || form == Form::kNfkc ? UTF8PROC_COMPOSE : UTF8PROC_DECOMPOSE;
  if (form == Form::kNfkc || form == Form::kNfkd) options |= UTF8PROC_COMPAT;
  utf8proc_uint8_t* mapped = nullptr;
  const auto length = utf8proc_map(reinterpret_cast<const utf8proc_uint8_t*>(text.data()),
                                   static_cast<utf8proc_ssize_t>(text.size()), &mapped,
                                   static_cast<utf8proc_option_t>(options));
  const std::unique_ptr<utf8proc_uint8_t, decltype(&std::free)> owner(mapped, &std::free);
  if (length == UTF8PROC_ERROR_NOMEM) throw std::bad_alloc();
  MOLORA_CHECK(length >= 0, "utf8proc: {}", utf8proc_errmsg(length));
  out.append(reinterpret_cast<const char*>(mapped), static_cast<size_t>(length));
}

// Characters that the reference does not normalize stand between parts that it does.
std::string normalized(std::string_view text, Normalizer::Form form) {
  std::string result;
  size_t begin = 0;
  for (size_t position = 0; position < text.size();) {
    const CodePoint c = code_point_at(text, position);
    if (c.value >= 0x300 && is_left_unnormalized(c.value)) {
      append_normalized(text.substr(begin, position - begin), form, result);
      result += text.substr(position, c.bytes);
      begin = position + c.bytes;
    }
    position += c.bytes;
  }
  append_normalized(text.substr(begin), form, result);
  return result;
}

std::string_view stripped(std::string_view text, bool left, bool right) {
  while (left && !text.empty()) {
    const CodePoint c = code_point_at(text, 0);
    if (!is_white_space(c.value)) break;
    text.remove_prefix(c.bytes);
  }
  while (right && !text.empty()) {
    const CodePoint c = code_point_before(text, text.size());
    if (!is_white_space(c.value)) break;
    text.remove_suffix(c.bytes);
  }
  return text;
}

}  // namespace

size_t replacement_growth(const TextPattern& pattern, std::string_view content) {
  const size_t matched = std::max<size_t>(pattern.fixed_string().size(), 1);
  const bool keeps_text = pattern.fixed_string().empty();  // an expression may match nothing
  return (content.size() + matched - 1) / matched + (keeps_text ? 1 : 0);
}

Normalizer::Normalizer(const JsonAt& json) {
  parse(json, 0);
  size_t growth = 1;
  for (const Step& step : steps_) {
    size_t factor = 1;
    if (const auto* replace = std::get_if<Replace>(&step)) {
      factor = std::max<size_t>(1, replacement_growth(replace->pattern, replace->content));
    } else if (const auto* prepend = std::get_if<Prepend>(&step)) {
      factor = 1 + prepend->text.size() / 16;
    }
    growth *= factor;
    if (growth > kMaxGrowth) {
      json.fail(fmt::format("may make a text more than {} times as long", kMaxGrowth));
    }
  }
}

void Normalizer::parse(const JsonAt& json, int depth) {
  const std::string& type = json.field("type").text();
  if (depth > kMaxDepth || steps_.size() > kMaxSteps) json.fail("is nested too deeply");
  if (type == "Sequence") {
    for (const JsonAt& item : json.field("normalizers").items()) parse(item, depth + 1);
  } else if (const auto form = form_of(type)) {
    steps_.emplace_back(*form);
  } else if (type == "Prepend") {
    steps_.emplace_back(Prepend{json.field("prepend").text()});
  } else if (type == "Replace") {
    steps_.emplace_back(Replace{TextPattern(json.field("pattern")), json.field("content").text()});
  } else if (type == "Strip") {
    steps_.emplace_back(Strip{json.field("strip_left").flag(), json.field("strip_right").flag()});
  } else {
    json.fail(
        fmt::format("normalizer {} is not supported (NFC, NFD, NFKC, NFKD, Prepend, "
                    "Replace, Strip, Sequence are)",
                    type));
  }
}

std::optional<std::string> Normalizer::changed(std::string_view text, const Step& step) const {
  if (const auto* form = std::get_if<Form>(&step)) {
    if (is_all_kept(text, *form)) return std::nullopt;
    return normalized(text, *form);
  }
  if (const auto* prepend = std::get_if<Prepend>(&step)) {
    if (text.empty()) return std::nullopt;
    return prepend->text + std::string(text);
  }
  if (const auto* replace = std::get_if<Replace>(&step)) {
    return replace->pattern.replace_all(text, replace->content);
  }
  const auto& strip = std::get<Strip>(step);
  return std::string(stripped(text, strip.left, strip.right));
}

std::string_view Normalizer::apply(std::string_view text, std::string& buffer) const {
  std::string_view current = text;
  for (const Step& step : steps_) {
    if (auto result = changed(current, step)) {
      buffer = std::move(*result);
      current = buffer;
    }
  }
  return current;
}

bool Normalizer::keeps_beginning() const {
  return std::none_of(steps_.begin(), steps_.end(), [](const Step& step) {
    if (const auto* replace = std::get_if<Replace>(&step)) {
      // A single character is replaced in place; anything longer is not.
      const std::string_view fixed = replace->pattern.fixed_string();
      return replace->content.empty() || fixed.empty() ||
             code_point_at(fixed, 0).bytes != fixed.size();
    }
    return std::holds_alternative<Strip>(step);
  });
}

}  // namespace molora
