// A value of a JSON file together with where it stands, so that every message names the place.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include <nlohmann/json_fwd.hpp>

namespace molora {

// A view: the document must outlive it. Every function throws DataError "file: path: reason" when
// the value is not what is asked for.
class JsonAt {
 public:
  // `origin` names the file; `path` is "model.vocab" and the like, empty for the whole document.
  JsonAt(const nlohmann::json& value, std::string origin, std::string path = "")
      : value_(&value), origin_(std::move(origin)), path_(std::move(path)) {}

  [[noreturn]] void fail(const std::string& what) const;
  // "file: path".
  std::string where() const;
  const nlohmann::json& value() const { return *value_; }

  // A field that must be there.
  JsonAt field(const char* name) const;
  // A field unless it is missing or null.
  std::optional<JsonAt> find(const char* name) const;
  std::vector<JsonAt> items() const;
  // A value within this one that the caller has at hand; for messages.
  JsonAt within(const nlohmann::json& value, std::string_view step) const;

  // The value as text, true or false, or a count.
  const std::string& text() const;
  bool flag() const;
  uint64_t count() const;

  std::string text_or(const char* name, std::string_view otherwise) const;
  bool flag_or(const char* name, bool otherwise) const;

 private:
  const nlohmann::json* value_;
  std::string origin_;
  std::string path_;
};

}  // namespace molora
