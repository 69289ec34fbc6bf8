// Which hosts of a plan do not answer, asked in the way in which the launcher would reach them.
#pragma once

#include <chrono>
#include <string>
#include <vector>

#include "launcher/plan/environment.h"
#include "launcher/plan/launch_plan.h"
#include "launcher/plan/machine.h"

namespace molora {

// The names of the plan's hosts on which `true` cannot be run within `limit`, in the plan's
// order. All are asked at once: through srun where the plan uses it; else through the launch agent
// of Open MPI (plm_rsh_agent of the plan's arguments or the environment), or ssh without questions.
// This machine always answers.
//
// Blocks for up to `limit`. Children are killed with all that they started when it ends; it waits
// for its own children alone. Throws: IoError when no child can be started at all.
std::vector<std::string> unreachable_hosts(const LaunchPlan& plan, const Machine& local,
                                           std::chrono::seconds limit,
                                           const Environment& environment = process_environment());

// What is run to ask one host.
std::vector<std::string> probe_command(const LaunchPlan& plan, const std::string& host,
                                       std::chrono::seconds limit, const Environment& environment);

}  // namespace molora
