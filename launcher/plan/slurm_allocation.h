// What Slurm has granted to the job that this process belongs to, from the environment that it sets
// in batch scripts and shells of allocations.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "launcher/plan/environment.h"

namespace molora {

struct SlurmNode {
  std::string name;
  int tasks = 0;  // as Slurm counts them, asked for or not
  int cpus = 0;   // 0: not known

  bool operator==(const SlurmNode&) const = default;
};

struct SlurmAllocation {
  std::string job_id;
  std::vector<SlurmNode> nodes;
  bool has_tasks = false;  // whether the user asked for tasks; if not, `tasks` are but a guess
  int cpus_per_task = 0;   // 0: not asked for
  int gpus_on_node = 0;    // of the node that this process is on
  int restart_count = 0;   // how often the job was requeued
  std::optional<int64_t> end_time;  // seconds since the epoch at which Slurm ends the job
};

// nullopt outside of an allocation.
// Throws: ConfigError that names the variable and what was expected of it.
std::optional<SlurmAllocation> find_slurm_allocation(
    const Environment& environment = process_environment());

// "n[1-3,7],m05" -> n1 n2 n3 n7 m05; several brackets in a name multiply; leading zeros stay.
// Throws: ConfigError.
std::vector<std::string> expand_node_list(std::string_view text);

// "2(x3),1" -> 2 2 2 1. Throws: ConfigError.
std::vector<int> expand_counts(std::string_view text);

}  // namespace molora
