// The elements of a text of JSON lines or of one JSON array, found without parsing them.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

namespace molora {

struct JsonElement {
  std::string_view text;  // part of the whole text, without surrounding blanks
  uint64_t line = 0;      // where it begins, from 1
};

// Goes through the text once. Array elements end at the comma or bracket that closes them, strings
// and nested brackets respected; whether an element is JSON is for its parser to say.
class JsonElements {
 public:
  enum class Layout { kLines, kArray };

  // `text` must outlive this object and the elements; `origin` names it in messages.
  JsonElements(std::string_view text, Layout layout, std::string origin);

  // The next element, or nothing at the end; empty lines are passed over.
  // Throws: DataError "origin:line: ..." when an array is not one array from beginning to end.
  std::optional<JsonElement> next();

  // Bytes gone through.
  size_t position() const { return position_; }

 private:
  [[noreturn]] void fail(uint64_t line, const std::string& what) const;
  std::optional<JsonElement> next_line();
  std::optional<JsonElement> next_of_array();
  void open_array();
  void close_array();
  void skip_blanks();
  size_t end_of_element() const;
  // Moves to `position`, counting lines.
  void advance_to(size_t position);
  std::string got() const;

  std::string_view text_;
  Layout layout_;
  std::string origin_;
  size_t position_ = 0;
  uint64_t line_ = 1;
  enum class Place { kBefore, kFirst, kLater, kAfter } place_ = Place::kBefore;  // in an array
};

}  // namespace molora
