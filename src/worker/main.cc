// molora: the one program. Here an exception becomes an exit code, and nowhere else.
#include <cstdlib>
#include <exception>
#include <filesystem>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include <fmt/format.h>
#include <spdlog/spdlog.h>

#include "base/build_features.h"
#include "base/log.h"
#include "comm/mpi_env.h"
#include "comm/nccl_context.h"
#include "config/load_config.h"
#include "launcher/rank_agent.h"
#include "launcher/supervisor.h"
#include "launcher/unwatched_job.h"
#include "report/progress_line.h"
#include "tensor/host_memory.h"
#include "watch/fault_injection.h"
#include "watch/fault_kind.h"
#include "worker/checked_export.h"
#include "worker/command_line.h"
#include "worker/console.h"
#include "worker/crash_report.h"
#include "worker/together.h"

namespace molora {
namespace {

template <typename... Handlers>
struct Overloaded : Handlers... {
  using Handlers::operator()...;
};
template <typename... Handlers>
Overloaded(Handlers...) -> Overloaded<Handlers...>;

ExitCode run_command(const CommandLine& line, Communicator& world) {
  return std::visit(
      Overloaded{
          [&](const TrainArguments& arguments) { return run_train(arguments, world); },
          [&](const EvalArguments& arguments) { return run_eval(arguments, world); },
          [&](const GenerateArguments& arguments) { return run_generate(arguments, world); },
          [&](const ServeArguments& arguments) { return run_serve(arguments, world); },
          [&](const PlanArguments& arguments) { return run_plan(arguments, world); },
          [&](const BenchArguments& arguments) { return run_bench(arguments, world); },
          [&](const VerifyArguments& arguments) { return run_verify(arguments, world); },
          [&](const InspectArguments& arguments) { return run_inspect(arguments, world); },
          [&](const ExportArguments& arguments) { return run_export(arguments, world); },
          [&](const ReportArguments& arguments) {
            return world.rank() == 0 ? run_report(arguments) : ExitCode::kDone;
          },
          [&](const WatchArguments& arguments) {
            return world.rank() == 0 ? run_watch(arguments) : ExitCode::kDone;
          },
          [&](const ConfigCommand&) { return world.rank() == 0 ? run_config() : ExitCode::kDone; }},
      line.command);
}

using Parsed = std::variant<CommandLine, CommandLineText>;

// The command line, or why it is wrong: told once all ranks are there, so that one of them speaks.
struct ParsedOrError {
  Parsed parsed;
  std::exception_ptr error;
};

ParsedOrError parse(int argc, const char* const* argv) {
  try {
    return {parse_command_line(argc, argv), nullptr};
  } catch (const Error&) {
    return {{}, std::current_exception()};
  }
}

// A training run that has to be watched: nothing else is worth a second process.
const TrainArguments* training_of(const ParsedOrError& line) {
  const auto* command = std::get_if<CommandLine>(&line.parsed);
  if (line.error || command == nullptr) return nullptr;
  const auto* train = std::get_if<TrainArguments>(&command->command);
  if (train == nullptr || train->is_dry_run) return nullptr;
  return command->launch.launcher == LaunchOptions::Launcher::kNone ? nullptr : train;
}

// An export of which a second process is to prove that it can be loaded.
const ExportArguments* checked_export_of(const ParsedOrError& line) {
  const auto* command = std::get_if<CommandLine>(&line.parsed);
  if (line.error || command == nullptr) return nullptr;
  const auto* arguments = std::get_if<ExportArguments>(&command->command);
  return arguments == nullptr || !arguments->is_checked ? nullptr : arguments;
}

std::vector<std::string> own_words(int argc, const char* const* argv) {
  std::vector<std::string> words = {std::filesystem::read_symlink("/proc/self/exe").string()};
  words.insert(words.end(), argv + 1, argv + argc);
  return words;
}

// `molora train` started plainly. The ranks' standard error is a pipe, so the bar that this
// process's terminal deserves is asked for.
ExitCode supervise(const CommandLine& line, const TrainArguments& train,
                   std::vector<std::string> words) {
  setup_logging(0, 1, line.verbosity);
  SupervisedJob job;
  job.config = load_config({train.config.files, train.config.overrides, ConfigUse::kTrain}).config;
  job.options = line.launch;
  job.options.may_use_gpus = is_built_for_gpus() && job.config.device().kind() != DeviceConfig::cpu;
  job.is_terminal = train.progress == ProgressStyle::kBar ||
                    (train.progress == ProgressStyle::kAuto && ProgressLine::stderr_is_terminal());
  words.insert(words.end(), {"--progress", job.is_terminal ? "relayed" : "plain"});
  job.program_and_arguments = std::move(words);
  if (line.is_print_command) {
    print(planned_command(job.options, job.config.parallel(), job.program_and_arguments));
    return ExitCode::kDone;
  }
  return static_cast<ExitCode>(run_supervised(job));
}

// `--ranks N` where an MPI launcher has started the ranks already: the number must agree. A
// supervisor may have left out a host since.
void check_num_ranks(int num_ranks, Communicator& world) {
  together(world, [&] {
    if (num_ranks == 0 || num_ranks == world.size() || has_supervisor()) return;
    throw ConfigError(fmt::format(
        "--ranks {} was given to a process that an MPI launcher started as one of {}; leave "
        "--ranks out there",
        num_ranks, world.size()));
  });
}

// What a rank is told besides its command line.
void arm_faults_of_environment(int rank) {
  const char* faults = std::getenv("MOLORA_FAULT");
  if (faults == nullptr) return;
  const char* attempt = std::getenv("MOLORA_ATTEMPT");
  arm_faults(parse_faults(faults), rank, attempt == nullptr ? 1 : std::atoi(attempt));
}

ExitCode run_rank(MpiEnvironment& environment, const ParsedOrError& line, BlackBox* box) {
  setup_logging(0, 1, LogVerbosity::kNormal);
  const auto world = environment.make_world();
  const LogReader reader =
      box != nullptr && has_supervisor() ? LogReader::kSupervisor : LogReader::kPerson;
  setup_logging(world->rank(), world->size(), LogVerbosity::kNormal, reader);
  if (box != nullptr) {
    box->set_rank(world->rank(), world->size());
    install_crash_report();
  }
  together(*world, [&] {
    if (line.error) std::rethrow_exception(line.error);
    arm_faults_of_environment(world->rank());
  });
  if (const auto* text = std::get_if<CommandLineText>(&line.parsed)) {
    if (world->rank() == 0) print(text->text);
    return ExitCode::kDone;
  }
  const auto& command = std::get<CommandLine>(line.parsed);
  if (MpiEnvironment::started_by_launcher()) check_num_ranks(command.launch.num_ranks, *world);
  setup_logging(world->rank(), world->size(), command.verbosity, reader);
  if (box != nullptr) box->enter_phase(PHASE_LOAD);
  return run_command(command, *world);
}

// An exception becomes an exit code, a line of the log, and the word of the black box.
int fail(const std::exception& error, MpiEnvironment* environment, BlackBox* box) {
  const std::string lost = nccl_failure();
  if (!lost.empty() && dynamic_cast<const CommError*>(&error) == nullptr &&
      dynamic_cast<const FailedTogether*>(&error) == nullptr) {
    spdlog::debug("after that: {}", error.what());
    return fail(CommError(lost), environment, box);
  }
  const auto* known = dynamic_cast<const FailedTogether*>(&error);
  const FaultKind fault = known != nullptr ? known->fault() : fault_of(error);
  const ExitCode code = exit_code_of(fault);
  const bool is_expected = dynamic_cast<const Error*>(&error) != nullptr;
  const std::string message = (is_expected ? "" : "unexpected: ") + std::string(error.what());
  if (!message.empty()) spdlog::error("{}", message);
  if (box != nullptr) box->set_failure(fault, static_cast<int>(code), message);
  // All ranks know of a failure together; of any other the rest must not wait for this one.
  if (known == nullptr && environment != nullptr) environment->abort_all(code);
  return static_cast<int>(code);
}

// Runs in this process: a rank, or a command that needs no other one.
int run_here(int argc, char** argv, const ParsedOrError& line, BlackBox* box) {
  use_caching_host_allocator();
  std::optional<MpiEnvironment> environment;
  try {
    environment.emplace(&argc, &argv);
    return static_cast<int>(run_rank(*environment, line, box));
  } catch (const std::exception& error) {
    return fail(error, environment ? &*environment : nullptr, box);
  }
}

// Whether this process is to start the ranks of a command that is no training run.
bool starts_ranks(const ParsedOrError& line) {
  const auto* command = std::get_if<CommandLine>(&line.parsed);
  if (line.error || command == nullptr ||
      std::holds_alternative<TrainArguments>(command->command) ||
      command->launch.launcher == LaunchOptions::Launcher::kNone) {
    return false;
  }
  const LaunchOptions& launch = command->launch;
  return launch.num_ranks > 1 || !launch.hosts.empty() || !launch.hostfile.empty() ||
         command->is_print_command;
}

// Commands that look at a run's folder alone start without MPI; nothing where it is another one.
std::optional<ExitCode> run_without_ranks(const ParsedOrError& line) {
  const auto* command = std::get_if<CommandLine>(&line.parsed);
  if (line.error || command == nullptr) return std::nullopt;
  setup_logging(0, 1, command->verbosity);
  if (const auto* report = std::get_if<ReportArguments>(&command->command)) {
    return run_report(*report);
  }
  if (const auto* watch = std::get_if<WatchArguments>(&command->command)) return run_watch(*watch);
  return std::nullopt;
}

int run(int argc, char** argv) {
  const ParsedOrError line = parse(argc, argv);
  const TrainArguments* training = training_of(line);
  const bool is_rank = MpiEnvironment::started_by_launcher() || has_supervisor();
  if (is_rank) {
    const std::unique_ptr<BlackBox> box = training != nullptr ? become_worker() : nullptr;
    return run_here(argc, argv, line, box.get());
  }
  if (training != nullptr) {
    return static_cast<int>(
        supervise(std::get<CommandLine>(line.parsed), *training, own_words(argc, argv)));
  }
  if (const ExportArguments* checked = checked_export_of(line)) {
    return run_checked_export(*checked, own_words(argc, argv));
  }
  if (const auto code = run_without_ranks(line)) return static_cast<int>(*code);
  if (starts_ranks(line)) {
    const auto& command = std::get<CommandLine>(line.parsed);
    if (!command.is_print_command) return run_unwatched(command.launch, own_words(argc, argv));
    print(planned_command(command.launch, ParallelConfig(), own_words(argc, argv)));
    return static_cast<int>(ExitCode::kDone);
  }
  return run_here(argc, argv, line, nullptr);
}

}  // namespace
}  // namespace molora

int main(int argc, char** argv) {
  try {
    return molora::run(argc, argv);
  } catch (const std::exception& error) {
    return molora::fail(error, nullptr, nullptr);
  }
}
