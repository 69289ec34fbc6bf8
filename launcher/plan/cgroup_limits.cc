#include "launcher/plan/cgroup_limits.h"

#include <algorithm>
#include <fstream>
#include <functional>
#include <sstream>
#include <string>
#include <string_view>
#include <vector>

namespace molora {

namespace {

namespace fs = std::filesystem;

// v1 says "no limit" with a number near 2^63.
constexpr uint64_t kNoMemoryLimit = uint64_t{1} << 60;

// The words of a file; none when it is not there.
std::vector<std::string> words_of(const fs::path& path) {
  std::ifstream file(path);
  std::vector<std::string> words;
  for (std::string word; file >> word;) words.push_back(word);
  return words;
}

std::optional<double> number_of(const std::string& word) {
  std::istringstream stream(word);
  double value = 0.0;
  if (!(stream >> value) || value <= 0.0) return std::nullopt;  // "max", -1
  return value;
}

// Calls `visit` with the folder of the group and of each group above it, up to the mount. In a
// container the path may name a group that is not to be seen there; then it is the mount alone.
void for_each_level(const fs::path& mount, const std::string& group,
                    const std::function<void(const fs::path&)>& visit) {
  fs::path below = fs::path(group).relative_path();
  while (!below.empty()) {
    visit(mount / below);
    below = below.parent_path();
  }
  visit(mount);
}

void tighten(CgroupLimits& limits, std::optional<double> cores) {
  if (cores) limits.cores = std::min(limits.cores.value_or(*cores), *cores);
}

void tighten_memory(CgroupLimits& limits, const std::vector<std::string>& words) {
  const auto bytes = words.empty() ? std::nullopt : number_of(words[0]);
  if (!bytes || *bytes >= static_cast<double>(kNoMemoryLimit)) return;
  const auto limit = static_cast<uint64_t>(*bytes);
  limits.memory_bytes = std::min(limits.memory_bytes.value_or(limit), limit);
}

void read_v2(const fs::path& folder, CgroupLimits& limits) {
  const std::vector<std::string> cpu = words_of(folder / "cpu.max");  // "150000 100000", "max ..."
  if (cpu.size() == 2) {
    const auto quota = number_of(cpu[0]);
    const auto period = number_of(cpu[1]);
    if (quota && period) tighten(limits, *quota / *period);
  }
  tighten_memory(limits, words_of(folder / "memory.max"));
}

void read_v1_cpu(const fs::path& folder, CgroupLimits& limits) {
  const std::vector<std::string> quota = words_of(folder / "cpu.cfs_quota_us");
  const std::vector<std::string> period = words_of(folder / "cpu.cfs_period_us");
  if (quota.empty() || period.empty()) return;
  const auto micros = number_of(quota[0]);
  const auto of = number_of(period[0]);
  if (micros && of) tighten(limits, *micros / *of);
}

bool has_controller(std::string_view list, std::string_view name) {
  for (size_t begin = 0; begin <= list.size();) {
    const size_t end = std::min(list.find(',', begin), list.size());
    if (list.substr(begin, end - begin) == name) return true;
    begin = end + 1;
  }
  return false;
}

}  // namespace

CgroupLimits find_cgroup_limits(const fs::path& root) {
  CgroupLimits limits;
  const fs::path mounts = root / "sys/fs/cgroup";
  std::ifstream file(root / "proc/self/cgroup");
  for (std::string line; std::getline(file, line);) {  // "4:cpu,cpuacct:/group", v2: "0::/group"
    const size_t first = line.find(':');
    const size_t second = first == std::string::npos ? first : line.find(':', first + 1);
    if (second == std::string::npos) continue;
    const std::string controllers = line.substr(first + 1, second - first - 1);
    const std::string group = line.substr(second + 1);
    if (controllers.empty()) {
      const auto visit = [&](const fs::path& folder) { read_v2(folder, limits); };
      for_each_level(mounts, group, visit);
      for_each_level(mounts / "unified", group, visit);
    }
    if (has_controller(controllers, "cpu")) {
      const auto visit = [&](const fs::path& folder) { read_v1_cpu(folder, limits); };
      for_each_level(mounts / controllers, group, visit);
      for_each_level(mounts / "cpu", group, visit);
    }
    if (has_controller(controllers, "memory")) {
      for_each_level(mounts / "memory", group, [&](const fs::path& folder) {
        tighten_memory(limits, words_of(folder / "memory.limit_in_bytes"));
      });
    }
  }
  return limits;
}

}  // namespace molora
