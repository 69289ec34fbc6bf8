// The command line of molora.
#pragma once

#include <string>
#include <variant>

#include "base/log.h"
#include "launcher/launch_options.h"
#include "worker/commands.h"

namespace molora {

struct ConfigCommand {};

struct CommandLine {
  std::variant<TrainArguments, EvalArguments, GenerateArguments, ServeArguments, PlanArguments,
               BenchArguments, VerifyArguments, InspectArguments, ExportArguments, ReportArguments,
               WatchArguments, ConfigCommand>
      command;
  LogVerbosity verbosity = LogVerbosity::kNormal;
  // Of train, eval, generate, serve and bench: where the ranks run. For a process that is a rank
  // already it says nothing new.
  LaunchOptions launch;
  // Of train and bench: print what would be started instead of starting it.
  bool is_print_command = false;
};

// What the command line asks to print instead of doing something: help, version.
struct CommandLineText {
  std::string text;
};

// Throws: ConfigError with what is wrong and the usage.
std::variant<CommandLine, CommandLineText> parse_command_line(int argc, const char* const* argv);

}  // namespace molora
