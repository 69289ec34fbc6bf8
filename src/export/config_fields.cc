#include "export/config_fields.h"

#include <algorithm>
#include <array>

#include <fmt/format.h>

#include "base/error.h"
#include "io/strict_json.h"

namespace molora {

namespace {

struct Target {
  std::string_view name;
  void (TargetsConfig::*set)(TargetsConfig::Kind);
};
constexpr std::array<Target, 7> kTargets = {{{"q_proj", &TargetsConfig::set_q_proj},
                                             {"k_proj", &TargetsConfig::set_k_proj},
                                             {"v_proj", &TargetsConfig::set_v_proj},
                                             {"o_proj", &TargetsConfig::set_o_proj},
                                             {"gate_proj", &TargetsConfig::set_gate_proj},
                                             {"up_proj", &TargetsConfig::set_up_proj},
                                             {"down_proj", &TargetsConfig::set_down_proj}}};

}  // namespace

void ConfigFields::fail(std::string_view field, const std::string& expected) const {
  const auto found = object_.find(field);
  throw DataError(fmt::format("{}: {}: expected {}, got {}", origin_, field, expected,
                              found == object_.end() ? "nothing" : json_excerpt(found->dump())));
}

uint32_t ConfigFields::count(std::string_view field) const {
  const auto found = object_.find(field);
  if (found == object_.end() || !found->is_number_unsigned() || found->get<uint64_t>() == 0 ||
      found->get<uint64_t>() > 65536) {
    fail(field, "a whole number above 0");
  }
  return found->get<uint32_t>();
}

double ConfigFields::positive(std::string_view field) const {
  const auto found = object_.find(field);
  if (found == object_.end() || !found->is_number() || !(found->get<double>() > 0.0)) {
    fail(field, "a number above 0");
  }
  return found->get<double>();
}

bool ConfigFields::flag(std::string_view field, bool absent) const {
  const auto found = object_.find(field);
  if (found == object_.end() || found->is_null()) return absent;
  if (!found->is_boolean()) fail(field, "true or false");
  return found->get<bool>();
}

std::string ConfigFields::text(std::string_view field, const std::string& absent) const {
  const auto found = object_.find(field);
  if (found == object_.end() || found->is_null()) return absent;
  if (!found->is_string()) fail(field, "a text");
  return found->get<std::string>();
}

double ConfigFields::number(std::string_view field, double absent) const {
  const auto found = object_.find(field);
  if (found == object_.end() || found->is_null()) return absent;
  if (!found->is_number()) fail(field, "a number");
  return found->get<double>();
}

bool is_one_of(std::span<const std::string_view> names, std::string_view name) {
  return std::find(names.begin(), names.end(), name) != names.end();
}

void refuse_unknown(const ConfigFields& fields, std::span<const std::string_view> read,
                    std::span<const std::string_view> without_effect) {
  for (const auto& [key, value] : fields.object().items()) {
    if (is_one_of(read, key) || is_one_of(without_effect, key) || is_unused(value)) continue;
    fields.fail(key, "it not to be used (it is not known here and may change the result)");
  }
}

bool is_unused(const nlohmann::json& value) {
  return value.is_null() || value == false ||
         ((value.is_string() || value.is_structured()) && value.empty());
}

void set_target_module(const ConfigFields& fields, const std::string& name,
                       TargetsConfig::Kind kind, TargetsConfig& targets) {
  const auto found = std::find_if(kTargets.begin(), kTargets.end(),
                                  [&](const Target& target) { return target.name == name; });
  if (found == kTargets.end()) {
    fields.fail("target_modules",
                "names of a decoder's linears (q_proj, k_proj, v_proj, o_proj, gate_proj, up_proj, "
                "down_proj)");
  }
  (targets.*found->set)(kind);
}

void set_all_targets(TargetsConfig::Kind kind, TargetsConfig& targets) {
  for (const Target& target : kTargets) (targets.*target.set)(kind);
}

}  // namespace molora
