// Any bytes as a configuration: text up to the first NUL, overrides between the NULs behind it.
//
// A configuration that is read must survive being printed and read again.
#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

#include <google/protobuf/util/message_differencer.h>

#include "base/error.h"
#include "config/config_difference.h"
#include "config/load_config.h"
#include "config/resolved_yaml.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace molora;
  constexpr size_t kMaxOverrides = 4;
  std::vector<std::string> parts(1);
  for (size_t i = 0; i < size; ++i) {
    if (data[i] == 0 && parts.size() <= kMaxOverrides) {
      parts.emplace_back();
    } else {
      parts.back() += static_cast<char>(data[i]);
    }
  }
  const std::vector<std::string> overrides(parts.begin() + 1, parts.end());
  LoadedConfig loaded;
  try {
    loaded = parse_config({{"fuzz", parts[0]}}, overrides, ConfigUse::kModel);
  } catch (const Error&) {
    return 0;
  }
  const std::string printed = resolved_yaml(loaded.config);
  const RunConfig again = parse_config({{"again", printed}}, {}, ConfigUse::kModel).config;
  const bool is_equal = google::protobuf::util::MessageDifferencer::Equals(loaded.config, again) &&
                        config_difference(loaded.config, again).empty();
  if (!is_equal) __builtin_trap();
  return 0;
}
