// The exact command that starts the ranks of a plan, and why it is what it is.
#pragma once

#include <string>
#include <vector>

#include "launcher/plan/environment.h"
#include "launcher/plan/launch_plan.h"
#include "launcher/plan/machine.h"

namespace molora {

struct EnvironmentSetting {
  std::string name, value;
  std::string reason;  // one line
};

struct LaunchCommand {
  std::vector<std::string> words;               // words[0] is found on PATH
  std::vector<EnvironmentSetting> environment;  // set where the user has not set it
  std::vector<std::string> notes;               // why some of the words are there
};

// What the user has set, in `environment` or among the plan's launcher arguments, is left as it is:
// the words of molora that would say the same thing otherwise are left out.
// REQUIRES: program_and_arguments begins with the program, as an absolute path where ranks run on
// other hosts, which see the same files.
LaunchCommand launch_command(const LaunchPlan& plan,
                             const std::vector<std::string>& program_and_arguments,
                             const Machine& local,
                             const Environment& environment = process_environment());

// For --print-command: the environment with its reasons as comments, then one line for a shell.
std::string command_text(const LaunchCommand& command);

}  // namespace molora
