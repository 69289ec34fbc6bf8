#include "config/faults.h"

#include <algorithm>
#include <tuple>

#include <fmt/format.h>

#include "base/error.h"

namespace molora {

namespace {

constexpr size_t kMaxFaults = 200;  // a file with more is not a configuration
constexpr size_t kMaxQuoted = 60;
constexpr size_t kMaxField = 120;

bool continues_character(char c) { return (static_cast<unsigned char>(c) & 0xc0) == 0x80; }

std::string printable(std::string_view text) {
  std::string result;
  for (const char c : text) {
    const auto byte = static_cast<unsigned char>(c);
    if (byte < 0x20 || byte == 0x7f) {
      result += fmt::format("\\x{:02x}", byte);
    } else {
      result += c;
    }
  }
  return result;
}

// `text` as printable, cut between characters after max bytes.
std::string printable(std::string_view text, size_t max) {
  if (text.size() <= max) return printable(text);
  size_t end = max;
  while (end > 0 && continues_character(text[end])) --end;
  return printable(text.substr(0, end)) + "...";
}

}  // namespace

std::string in_quotes(std::string_view text) {
  return fmt::format("'{}'", printable(text, kMaxQuoted));
}

void Faults::add(const Place& place, std::string_view field, const std::string& what) {
  if (is_full()) {
    ++not_kept_;
    return;
  }
  const bool has_lines = place.source < sources_.size() && sources_[place.source].has_lines;
  std::string text = where(place) + ": ";
  if (!field.empty()) text += printable(field, kMaxField) + ": ";
  faults_.push_back({{place.source, has_lines ? place.line : 0}, text + what});
  if (!field.empty()) fields_.emplace(field);
}

bool Faults::is_full() const { return faults_.size() >= kMaxFaults; }

bool Faults::covers(std::string_view field) const {
  for (size_t end = field.size(); end > 0; --end) {
    const bool is_whole_name = end == field.size() || field[end] == '.' || field[end] == '[';
    if (is_whole_name && fields_.contains(field.substr(0, end))) return true;
  }
  return false;
}

std::string Faults::where(const Place& place) const {
  if (place.source >= sources_.size()) return "configuration";
  const ConfigSource& source = sources_[place.source];
  if (!source.has_lines || place.line <= 0) return source.name;
  return fmt::format("{}:{}", source.name, place.line);
}

void Faults::throw_if_any() const {
  if (faults_.empty()) return;
  std::vector<Fault> sorted = faults_;
  std::stable_sort(sorted.begin(), sorted.end(), [](const Fault& a, const Fault& b) {
    return std::tie(a.place.source, a.place.line) < std::tie(b.place.source, b.place.line);
  });
  const size_t count = sorted.size() + not_kept_;
  std::string message =
      fmt::format("the configuration has {} fault{}:", count, count == 1 ? "" : "s");
  for (const Fault& fault : sorted) message += "\n  " + fault.text;
  if (not_kept_ > 0) message += fmt::format("\n  and {} more", not_kept_);
  throw ConfigError(message);
}

}  // namespace molora
