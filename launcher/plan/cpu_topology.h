// The CPUs (hardware threads) of this machine by NUMA node and core.
#pragma once

#include <filesystem>
#include <string>
#include <string_view>
#include <vector>

namespace molora {

using CpuList = std::vector<int>;  // ascending

// Those that the kernel lets the calling thread run on.
CpuList affinity_cpus();

// "0-3,8", as the kernel writes it.
std::string cpu_list_text(const CpuList& cpus);
// What is no list is empty.
CpuList cpus_of_list(std::string_view list);

struct NumaNode {
  std::vector<CpuList> cores;  // the hardware threads of each, in the order of the first
};

// The nodes that have usable CPUs, with those alone, as /sys under `root` shows them. Where the
// kernel does not tell, all are on one node, and each is a core of its own.
std::vector<NumaNode> numa_nodes(const std::filesystem::path& root, const CpuList& usable);

}  // namespace molora
