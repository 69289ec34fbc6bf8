#include "launcher/agent/memory_events.h"

#include <fstream>
#include <string>
#include <string_view>
#include <system_error>

namespace molora {

namespace {

// The group of a process in one line of /proc/PID/cgroup, "4:memory:/a" (version 1) or "0::/a"
// (version 2), as the file with its counters; "" for lines of other controllers.
std::filesystem::path counters_of(const std::string& line, const std::filesystem::path& groups) {
  const size_t first = line.find(':');
  const size_t second = line.find(':', first + 1);
  if (first == std::string::npos || second == std::string::npos) return {};
  const std::string controllers = "," + line.substr(first + 1, second - first - 1) + ",";
  const std::string group = line.substr(second + 1);
  const std::string relative = group.empty() ? "" : group.substr(1);
  std::vector<std::filesystem::path> roots;
  const char* name = "memory.events";
  if (controllers.find(",memory,") != std::string::npos) {
    roots = {groups / "memory"};
    name = "memory.oom_control";
  } else if (controllers == ",,") {
    roots = {groups, groups / "unified"};
  }
  // In a container the group's path is often that of the host, of which only the root is seen.
  for (const std::filesystem::path& root : roots) {
    for (const std::filesystem::path& folder : {root / relative, root}) {
      std::error_code ignored;
      if (std::filesystem::exists(folder / name, ignored)) return folder / name;
    }
  }
  return {};
}

}  // namespace

MemoryEvents::MemoryEvents(pid_t process, const std::filesystem::path& proc,
                           const std::filesystem::path& groups) {
  std::ifstream lines(proc / std::to_string(process) / "cgroup");
  for (std::string line; std::getline(lines, line);) {
    std::filesystem::path file = counters_of(line, groups);
    if (!file.empty()) files_.push_back(std::move(file));
  }
  before_ = count();
}

long MemoryEvents::killed() const { return count() - before_; }

long MemoryEvents::count() const {
  long sum = 0;
  for (const std::filesystem::path& path : files_) {
    std::ifstream file(path);
    std::string key;
    for (long value = 0; file >> key >> value;) {
      if (key == "oom_kill") sum += value;
    }
  }
  return sum;
}

}  // namespace molora
