// What the control groups of this process leave it of the machine.
#pragma once

#include <cstdint>
#include <filesystem>
#include <optional>

namespace molora {

struct CgroupLimits {
  std::optional<double> cores;  // CPU time per time
  std::optional<uint64_t> memory_bytes;
};

// The tightest limits of the process's group and the groups above it, of cgroups v1 and v2, as
// /proc/self/cgroup and /sys/fs/cgroup under `root` show them. What cannot be read is no limit.
CgroupLimits find_cgroup_limits(const std::filesystem::path& root);

}  // namespace molora
