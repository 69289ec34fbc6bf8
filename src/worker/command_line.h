// The command line of molora.
#pragma once

#include <string>
#include <variant>

#include "base/log.h"
#include "worker/commands.h"

namespace molora {

struct ConfigCommand {};

struct CommandLine {
  std::variant<TrainArguments, EvalArguments, GenerateArguments, PlanArguments, VerifyArguments,
               InspectArguments, ConfigCommand>
      command;
  LogVerbosity verbosity = LogVerbosity::kNormal;
  // Above 1 in a process that no MPI launcher started: start so many ranks of this command.
  int num_ranks = 1;
};

// What the command line asks to print instead of doing something: help, version.
struct CommandLineText {
  std::string text;
};

// Throws: ConfigError with what is wrong and the usage.
std::variant<CommandLine, CommandLineText> parse_command_line(int argc, const char* const* argv);

}  // namespace molora
