// What this machine offers to ranks: the cores, NUMA nodes, GPUs and memory that this process may
// use, which in a container or a batch job is less than what is built in.
#pragma once

#include <cstdint>
#include <filesystem>
#include <string>
#include <string_view>
#include <vector>

#include "launcher/plan/environment.h"

namespace molora {

struct Machine {
  std::string host_name;
  std::vector<std::string> addresses;  // of its network interfaces, loopback aside
  int num_cores = 1;                   // hardware threads: the affinity mask, cut by a cgroup quota
  int num_numa_nodes = 1;              // that have usable cores
  int num_gpus = 0;                    // of NVIDIA, that CUDA would show to a process
  uint64_t memory_bytes = 0;           // built in or granted by cgroups; 0: not known
  bool is_root = false;                // whether this process runs as root
};

// Where to look. Tests put folders with made-up /proc, /sys and /dev in the place of the root.
struct MachineSources {
  std::filesystem::path root = "/";
  std::vector<int> cpus;  // that this process may run on; empty: asks the kernel
  Environment environment = process_environment();
};

// What cannot be read counts as not there (one core, one NUMA node, no GPU); never throws for it.
Machine find_machine(const MachineSources& sources = {});

// Whether a name or address means this machine. Names of which one is the other without its domain
// are the same ("n1", "n1.cluster.org").
bool is_local(const Machine& machine, std::string_view host);
bool is_same_host(std::string_view a, std::string_view b);

}  // namespace molora
