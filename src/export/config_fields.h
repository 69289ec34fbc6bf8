// Fields of a JSON file that describes an adapter, with messages that name file and field.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <string_view>

#include <nlohmann/json.hpp>

#include "run_config.pb.h"

namespace molora {

// Refers to the object, which must outlive it. Everything here throws: DataError with file, field,
// what was expected and what was found.
class ConfigFields {
 public:
  ConfigFields(const nlohmann::json& object, std::string origin)
      : object_(object), origin_(std::move(origin)) {}

  [[noreturn]] void fail(std::string_view field, const std::string& expected) const;

  // A whole number from 1 to 65536.
  uint32_t count(std::string_view field) const;
  double positive(std::string_view field) const;
  // Of a field that may not be there, or be null.
  bool flag(std::string_view field, bool absent) const;
  std::string text(std::string_view field, const std::string& absent) const;
  double number(std::string_view field, double absent) const;

  bool has(std::string_view field) const { return object_.contains(field); }
  const nlohmann::json& object() const { return object_; }
  const std::string& origin() const { return origin_; }

 private:
  const nlohmann::json& object_;
  std::string origin_;
};

// null, false, "", [] and {}: a feature that is not used.
bool is_unused(const nlohmann::json& value);

bool is_one_of(std::span<const std::string_view> names, std::string_view name);

// Refuses what the file uses and nothing here knows: keys that are neither read nor without effect.
void refuse_unknown(const ConfigFields& fields, std::span<const std::string_view> read,
                    std::span<const std::string_view> without_effect);

// Sets the linear of this name, "q_proj" to "down_proj", which `target_modules` of the file has.
void set_target_module(const ConfigFields& fields, const std::string& name,
                       TargetsConfig::Kind kind, TargetsConfig& targets);

// All seven linears.
void set_all_targets(TargetsConfig::Kind kind, TargetsConfig& targets);

}  // namespace molora
