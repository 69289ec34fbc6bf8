// molora: the one program. Here an exception becomes an exit code, and nowhere else.
#include <exception>
#include <filesystem>
#include <optional>
#include <string>

#include <fmt/format.h>
#include <spdlog/spdlog.h>

#include "base/log.h"
#include "comm/mpi_env.h"
#include "launcher/local_job.h"
#include "report/progress_line.h"
#include "worker/command_line.h"
#include "worker/console.h"
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
          [&](const PlanArguments& arguments) { return run_plan(arguments, world); },
          [&](const VerifyArguments& arguments) { return run_verify(arguments, world); },
          [&](const InspectArguments& arguments) { return run_inspect(arguments, world); },
          [&](const ConfigCommand&) { return world.rank() == 0 ? run_config() : ExitCode::kDone; }},
      line.command);
}

// Runs the same command as that many ranks. Their standard error is a pipe, so the bar that this
// process's terminal deserves is asked for.
ExitCode start_ranks(const CommandLine& line, int argc, const char* const* argv) {
  LocalJob job{line.num_ranks, std::filesystem::read_symlink("/proc/self/exe"), {}};
  job.arguments.assign(argv + 1, argv + argc);
  const auto* train = std::get_if<TrainArguments>(&line.command);
  if (train != nullptr && train->progress == ProgressStyle::kAuto) {
    job.arguments.insert(job.arguments.end(),
                         {"--progress", ProgressLine::stderr_is_terminal() ? "bar" : "plain"});
  }
  return static_cast<ExitCode>(run_local_job(job));
}

void check_num_ranks(int num_ranks, Communicator& world) {
  together(world, [&] {
    if (num_ranks == world.size()) return;
    throw ConfigError(fmt::format(
        "--ranks {} was given to a process that an MPI launcher started as one of {}; leave "
        "--ranks out there",
        num_ranks, world.size()));
  });
}

ExitCode run(MpiEnvironment& environment, int argc, const char* const* argv) {
  setup_logging(0, 1, LogVerbosity::kNormal);
  const auto world = environment.make_world();
  setup_logging(world->rank(), world->size(), LogVerbosity::kNormal);
  std::variant<CommandLine, CommandLineText> parsed;
  together(*world, [&] { parsed = parse_command_line(argc, argv); });
  if (const auto* text = std::get_if<CommandLineText>(&parsed)) {
    if (world->rank() == 0) print(text->text);
    return ExitCode::kDone;
  }
  const auto& line = std::get<CommandLine>(parsed);
  if (line.num_ranks > 1) {
    if (!MpiEnvironment::started_by_launcher()) return start_ranks(line, argc, argv);
    // The ranks were started already: by us (then the number agrees) or by the user's own mpirun.
    check_num_ranks(line.num_ranks, *world);
  }
  setup_logging(world->rank(), world->size(), line.verbosity);
  return run_command(line, *world);
}

}  // namespace
}  // namespace molora

int main(int argc, char** argv) {
  std::optional<molora::MpiEnvironment> environment;
  const auto fail = [&](molora::ExitCode code, const std::string& message) {
    spdlog::error("{}", message);
    if (environment) environment->abort_all(code);
    return static_cast<int>(code);
  };
  try {
    environment.emplace(&argc, &argv);
    return static_cast<int>(molora::run(*environment, argc, argv));
  } catch (const molora::FailedTogether& error) {
    if (*error.what() != 0) spdlog::error("{}", error.what());
    return static_cast<int>(error.exit_code());
  } catch (const molora::Error& error) {
    return fail(error.exit_code(), error.what());
  } catch (const std::exception& error) {
    return fail(molora::ExitCode::kInternal, std::string("unexpected: ") + error.what());
  }
}
