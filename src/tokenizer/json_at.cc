#include "tokenizer/json_at.h"

#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include "base/error.h"

namespace molora {

using nlohmann::json;

void JsonAt::fail(const std::string& what) const {
  throw DataError(fmt::format("{}: {}", where(), what));
}

std::string JsonAt::where() const {
  return path_.empty() ? origin_ : fmt::format("{}: {}", origin_, path_);
}

JsonAt JsonAt::within(const json& value, std::string_view step) const {
  return {value, origin_, fmt::format("{}{}", path_, step)};
}

JsonAt JsonAt::field(const char* name) const {
  if (!value_->is_object()) fail(fmt::format("is not an object, so it has no {}", name));
  const auto found = value_->find(name);
  if (found == value_->end()) fail(fmt::format("has no {}", name));
  return within(*found, path_.empty() ? name : fmt::format(".{}", name));
}

std::optional<JsonAt> JsonAt::find(const char* name) const {
  if (!value_->is_object()) fail(fmt::format("is not an object, so it has no {}", name));
  const auto found = value_->find(name);
  if (found == value_->end() || found->is_null()) return std::nullopt;
  return within(*found, path_.empty() ? name : fmt::format(".{}", name));
}

std::vector<JsonAt> JsonAt::items() const {
  if (!value_->is_array()) fail("is not a list");
  std::vector<JsonAt> result;
  result.reserve(value_->size());
  for (const json& item : *value_) {
    result.push_back(within(item, fmt::format("[{}]", result.size())));
  }
  return result;
}

const std::string& JsonAt::text() const {
  if (!value_->is_string()) fail("is not a text");
  return value_->get_ref<const std::string&>();
}

bool JsonAt::flag() const {
  if (!value_->is_boolean()) fail("is neither true nor false");
  return value_->get<bool>();
}

uint64_t JsonAt::count() const {
  if (!value_->is_number_unsigned()) fail("is not a whole number from 0 on");
  return value_->get<uint64_t>();
}

std::string JsonAt::text_or(const char* name, std::string_view otherwise) const {
  const auto found = find(name);
  return found ? found->text() : std::string(otherwise);
}

bool JsonAt::flag_or(const char* name, bool otherwise) const {
  const auto found = find(name);
  return found ? found->flag() : otherwise;
}

}  // namespace molora
