#include "launcher/plan/visible_gpus.h"

#include <algorithm>
#include <cctype>
#include <fstream>
#include <optional>
#include <set>
#include <string>
#include <string_view>
#include <system_error>
#include <vector>

#include "launcher/plan/number_text.h"

namespace molora {

namespace {

namespace fs = std::filesystem;

std::vector<fs::path> entries_of(const fs::path& folder) {
  std::error_code ignored;
  std::vector<fs::path> entries;
  for (const auto& entry : fs::directory_iterator(folder, ignored)) entries.push_back(entry.path());
  return entries;
}

// "GPU UUID:   GPU-1234..." of a GPU's file `information`.
std::string uuid_of(const fs::path& gpu) {
  std::ifstream file(gpu / "information");
  for (std::string line; std::getline(file, line);) {
    const size_t begin = line.find("GPU-");
    if (line.rfind("GPU UUID", 0) == 0 && begin != std::string::npos) return line.substr(begin);
  }
  return {};
}

struct Gpus {
  int count = 0;
  std::vector<std::string> uuids;  // of those whose UUID can be read
};

Gpus find_gpus(const fs::path& root) {
  Gpus gpus;
  for (const fs::path& gpu : entries_of(root / "proc/driver/nvidia/gpus")) {
    ++gpus.count;
    std::string uuid = uuid_of(gpu);
    if (!uuid.empty()) gpus.uuids.push_back(std::move(uuid));
  }
  int num_devices = 0;
  for (const fs::path& device : entries_of(root / "dev")) {
    const std::string name = device.filename().string();
    if (name.rfind("nvidia", 0) == 0 &&
        whole_number(std::string_view(name).substr(6), 0, 1 << 20)) {
      ++num_devices;
    }
  }
  // A container may list every GPU of the host and have the devices of its own alone.
  if (gpus.count == 0) gpus.count = num_devices;
  if (num_devices > 0) gpus.count = std::min(gpus.count, num_devices);
  return gpus;
}

std::string_view trimmed(std::string_view text) {
  while (!text.empty() && text.front() == ' ') text.remove_prefix(1);
  while (!text.empty() && text.back() == ' ') text.remove_suffix(1);
  return text;
}

// The identity of the GPU that an entry names; nothing when it names none.
std::optional<std::string> gpu_of(std::string_view entry, const Gpus& gpus) {
  if (entry.rfind("GPU-", 0) != 0) {
    const auto index = whole_number(entry, 0, gpus.count - 1);
    return index ? std::optional(std::to_string(*index)) : std::nullopt;
  }
  if (gpus.uuids.empty()) return std::string(entry);  // cannot be checked
  const auto is_named = [&](const std::string& uuid) { return uuid.rfind(entry, 0) == 0; };
  if (std::count_if(gpus.uuids.begin(), gpus.uuids.end(), is_named) != 1) return std::nullopt;
  return *std::find_if(gpus.uuids.begin(), gpus.uuids.end(), is_named);
}

}  // namespace

int count_visible_gpus(const fs::path& root, const Environment& environment) {
  const Gpus gpus = find_gpus(root);
  const auto visible = variable(environment, "CUDA_VISIBLE_DEVICES");
  if (!visible || gpus.count == 0) return gpus.count;
  const std::string_view list = *visible;
  std::set<std::string> seen;
  for (size_t begin = 0; begin <= list.size();) {
    const size_t end = std::min(list.find(',', begin), list.size());
    const std::string_view entry = trimmed(list.substr(begin, end - begin));
    if (entry.rfind("MIG-", 0) == 0) return seen.empty() ? 1 : static_cast<int>(seen.size());
    const auto gpu = gpu_of(entry, gpus);
    if (!gpu || !seen.insert(*gpu).second) break;
    begin = end + 1;
  }
  return std::min(static_cast<int>(seen.size()), gpus.count);
}

}  // namespace molora
