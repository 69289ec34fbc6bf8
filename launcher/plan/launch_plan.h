// How many ranks a job has and where they run: a decision without side effects.
//
// Rules, in this order:
//   - --ranks wins; the ranks are spread over the hosts, a tensor-parallel group on one host where
//     that fits;
//   - else the slots that the hosts were given with, or the tasks that Slurm was asked for;
//   - else one rank for each GPU (this machine's number stands for that of every host);
//   - else, without GPUs, one rank for each NUMA node, whose cores its threads use (every rank
//   holds
//     the base in memory), but at least as many as the layout needs.
// The number of ranks must be a multiple of lcm(tensor_parallel, expert_parallel).
#pragma once

#include <filesystem>
#include <optional>
#include <set>
#include <string>
#include <string_view>
#include <vector>

#include "launcher/launch_options.h"
#include "launcher/plan/environment.h"
#include "launcher/plan/hosts.h"
#include "launcher/plan/machine.h"
#include "launcher/plan/slurm_allocation.h"
#include "run_config.pb.h"

namespace molora {

struct LaunchPlan {
  using Launcher = LaunchOptions::Launcher;

  Launcher launcher = Launcher::kNone;  // kMpirun, kSrun, or kNone: started directly
  std::vector<Host> hosts;  // that have ranks; slots: how many; in the order of the ranks
  std::vector<Host> room;  // all that may be used; slots: ranks that fit, kUnknownSlots: any number
  std::string local_host;  // the one of `room` that is this machine; "": none is
  bool is_local = true;    // all ranks run on this machine
  bool is_for_gpus = false;
  int cores_per_host = 1;                       // that the ranks of one host share
  int cpus_per_task = 0;                        // that Slurm was asked for; 0: not asked for
  std::string slurm_job;                        // "" outside of an allocation
  std::string why;                              // "--ranks", "one for each GPU", ...
  std::filesystem::path working_folder;         // of every rank
  std::vector<std::string> launcher_arguments;  // of the user

  int num_ranks() const;
  int most_ranks_per_host() const;
};

// Throws: ConfigError that says what was found, what is needed and what to write; IoError when the
// hostfile cannot be read.
LaunchPlan make_launch_plan(const LaunchOptions& options, const ParallelConfig& parallel,
                            const Machine& local, const std::optional<SlurmAllocation>& slurm,
                            const Environment& environment = process_environment());

// The same job without these hosts (names as in the plan): as many ranks as fit into the room of
// the others, but no more than before. nullopt when they have no room for the layout.
std::optional<LaunchPlan> without_hosts(const LaunchPlan& plan, const ParallelConfig& parallel,
                                        const std::set<std::string>& hosts);

// One sentence: "8 ranks on 2 hosts (a 4, b 4): one for each GPU, started by srun (Slurm allocation
// 42)".
std::string describe(const LaunchPlan& plan);

}  // namespace molora
