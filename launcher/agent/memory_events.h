// Whether the kernel has killed for lack of memory: the counters of a process's control group.
#pragma once

#include <sys/types.h>

#include <filesystem>
#include <vector>

namespace molora {

// The counters that hold for one process, found while it lives. Without control groups, or without
// the right to read them, there are none and the sum is 0.
class MemoryEvents {
 public:
  // `proc` and `groups` are where the kernel shows them; tests bring their own.
  explicit MemoryEvents(pid_t process, const std::filesystem::path& proc = "/proc",
                        const std::filesystem::path& groups = "/sys/fs/cgroup");

  // Processes that were killed for memory since this object was made.
  long killed() const;

 private:
  long count() const;

  std::vector<std::filesystem::path> files_;
  long before_ = 0;
};

}  // namespace molora
