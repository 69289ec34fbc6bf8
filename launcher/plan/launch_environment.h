// What Open MPI, NCCL and OpenMP are told through the environment when the ranks start, and why.
#pragma once

#include <vector>

#include "launcher/plan/launch_command.h"
#include "launcher/plan/user_settings.h"

namespace molora {

// Settings that the user has not made. A parameter of Open MPI goes here and not among the words of
// mpirun: there it could be given once only, and would win over the user's own variable.
std::vector<EnvironmentSetting> launch_environment(const LaunchPlan& plan, const Machine& local,
                                                   const UserSettings& user);

}  // namespace molora
