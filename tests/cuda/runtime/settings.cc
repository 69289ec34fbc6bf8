#include "settings.h"

#include <charconv>
#include <cstdlib>
#include <string_view>

#include <fmt/format.h>

#include "report.h"

namespace molora::fake_cuda {

namespace {

int64_t parse(const char* name, std::string_view text) {
  int64_t value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error != std::errc{} || end != text.data() + text.size() || value < 0) {
    stop(fmt::format("{}='{}' is not a number of 0 or more", name, text));
  }
  return value;
}

// All devices, or those that CUDA_VISIBLE_DEVICES lists.
std::vector<int> seen_devices() {
  const auto installed = static_cast<int>(number_from_environment("FAKE_CUDA_DEVICES", 8));
  std::vector<int> devices;
  const char* visible = std::getenv("CUDA_VISIBLE_DEVICES");
  if (visible == nullptr) {
    for (int i = 0; i < installed; ++i) devices.push_back(i);
    return devices;
  }
  std::string_view rest = visible;
  while (!rest.empty()) {
    const size_t comma = rest.find(',');
    const std::string_view entry = rest.substr(0, comma);
    rest = comma == std::string_view::npos ? std::string_view{} : rest.substr(comma + 1);
    if (entry == "-1") break;  // hides those that follow, as CUDA has it
    const auto device = static_cast<int>(parse("CUDA_VISIBLE_DEVICES", entry));
    if (device >= installed) break;
    devices.push_back(device);
  }
  return devices;
}

Settings read() {
  constexpr size_t kMebibyte = size_t{1} << 20;
  Settings settings;
  settings.devices = seen_devices();
  settings.seed = static_cast<uint64_t>(number_from_environment("FAKE_CUDA_SEED", 0));
  settings.max_delay_us = number_from_environment("FAKE_CUDA_MAX_DELAY_US", 200);
  settings.memory_bytes =
      static_cast<size_t>(number_from_environment("FAKE_CUDA_MEMORY_MB", 16384)) * kMebibyte;
  settings.quarantine_bytes =
      static_cast<size_t>(number_from_environment("FAKE_CUDA_QUARANTINE_MB", 64)) * kMebibyte;
  const char* fail = std::getenv("FAKE_CUDA_FAIL");
  settings.fail = fail == nullptr ? "" : fail;
  return settings;
}

}  // namespace

int64_t number_from_environment(const char* name, int64_t otherwise) {
  const char* text = std::getenv(name);
  return text == nullptr || *text == '\0' ? otherwise : parse(name, text);
}

const Settings& settings() {
  static const Settings& once = *new Settings(read());
  return once;
}

}  // namespace molora::fake_cuda
