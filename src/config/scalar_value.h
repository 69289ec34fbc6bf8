// Plain YAML values as numbers and truth values, strictly: nothing is rounded, cut or guessed.
#pragma once

#include <cstdint>
#include <string>

#include "config/yaml_tree.h"

namespace molora {

// A value, or the sentence that says why there is none.
template <typename T>
struct ScalarValue {
  T value{};
  std::string fault;
};

// A whole number from 0 to max, in decimal digits.
ScalarValue<uint64_t> read_whole_number(const YamlNode& node, uint64_t max);

// A finite number: 1, -0.5, 2e-4.
ScalarValue<double> read_number(const YamlNode& node);

// true or false, and none of YAML 1.1's other spellings.
ScalarValue<bool> read_flag(const YamlNode& node);

// Any plain or quoted text without NUL. Nothing at all is not text: write "".
ScalarValue<std::string> read_text(const YamlNode& node);

}  // namespace molora
