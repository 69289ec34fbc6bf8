// How many ranks a job has and on which hosts they may run; a step of the plan (launch_plan.h says
// by which rules).
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "launcher/launch_options.h"
#include "launcher/plan/hosts.h"
#include "launcher/plan/machine.h"
#include "launcher/plan/slurm_allocation.h"
#include "run_config.pb.h"

namespace molora {

// What the layout asks of the number of ranks.
struct RankLayout {
  explicit RankLayout(const ParallelConfig& parallel);

  int group;         // ranks that talk most: tensor_parallel
  int unit;          // the number of ranks is a multiple of it
  std::string text;  // the fields, for messages
};

struct RankCount {
  int num_ranks = 0;
  std::string why;                // "--ranks", "one for each GPU", ...
  std::vector<Host> spread_over;  // slots: most ranks to place there now
  std::vector<Host> room;         // the same hosts; slots: most ranks that could ever run there
};

// `gpus`: of each host. Throws: ConfigError; IoError for a hostfile.
RankCount count_ranks(const LaunchOptions& options, const RankLayout& layout, const Machine& local,
                      const std::optional<SlurmAllocation>& slurm, int gpus);

// The node of this name; nullptr when the allocation has none.
const SlurmNode* find_node(const SlurmAllocation& slurm, const std::string& name);

int sum_of_slots(const std::vector<Host>& hosts);
// Whether a host has kUnknownSlots.
bool is_unlimited(const std::vector<Host>& hosts);
// The same, with `slots` for those that have kUnknownSlots.
std::vector<Host> with_numbers(std::vector<Host> hosts, int slots);

std::string counted(size_t count, const char* thing);  // "1 rank", "2 ranks"

}  // namespace molora
