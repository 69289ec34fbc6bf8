#include "launcher/unwatched_job.h"

#include <fcntl.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <cstdlib>
#include <cstring>

#include <fmt/format.h>

#include "base/error.h"
#include "launcher/plan/launch_plan.h"
#include "launcher/plan/machine.h"
#include "launcher/plan/slurm_allocation.h"

namespace molora {

namespace {

constexpr int kCannotStart = 127;

// The signals that this process waits for instead of being interrupted by them.
sigset_t watched_signals() {
  sigset_t set;
  sigemptyset(&set);
  for (const int signal : std::array{SIGINT, SIGTERM, SIGUSR1, SIGUSR2, SIGCHLD}) {
    sigaddset(&set, signal);
  }
  return set;
}

// In the child, between fork and exec: only calls that are allowed there.
[[noreturn]] void become(char* const* words, const sigset_t& unblocked) {
  ::setpgid(0, 0);  // a Ctrl-C at the terminal reaches us, not mpirun
  ::prctl(PR_SET_PDEATHSIG, SIGTERM);
  // In the background, reading the terminal would stop mpirun.
  if (::isatty(STDIN_FILENO) == 1) {
    const int nothing = ::open("/dev/null", O_RDONLY);
    if (nothing >= 0) ::dup2(nothing, STDIN_FILENO);
  }
  ::sigprocmask(SIG_UNBLOCK, &unblocked, nullptr);
  ::execvp(words[0], words);
  ::_exit(kCannotStart);
}

pid_t start(const LaunchCommand& command, const sigset_t& watched) {
  for (const EnvironmentSetting& setting : command.environment) {
    ::setenv(setting.name.c_str(), setting.value.c_str(), /*overwrite=*/0);
  }
  std::vector<std::string> copies = command.words;
  std::vector<char*> words;
  words.reserve(copies.size() + 1);
  for (std::string& word : copies) words.push_back(word.data());
  words.push_back(nullptr);
  const pid_t child = ::fork();
  if (child < 0) throw IoError(fmt::format("cannot start mpirun: {}", std::strerror(errno)));
  if (child == 0) become(words.data(), watched);
  return child;
}

// Passes a signal on; `num_asked` counts the requests to leave.
void pass_on(int signal, pid_t child, int& num_asked) {
  if (signal == SIGUSR1 || signal == SIGUSR2) {
    ::kill(child, signal);
    return;
  }
  ++num_asked;
  if (num_asked == 1) ::kill(child, SIGUSR1);
  if (num_asked == 2) ::kill(child, SIGTERM);
  if (num_asked > 2) ::kill(-child, SIGKILL);
}

int wait_for(pid_t child, const sigset_t& watched) {
  int num_asked = 0;
  while (true) {
    int status = 0;
    const pid_t ended = ::waitpid(child, &status, WNOHANG);
    if (ended == child && WIFEXITED(status)) return WEXITSTATUS(status);
    if (ended == child && WIFSIGNALED(status)) return 128 + WTERMSIG(status);
    if (ended < 0 && errno != EINTR) {
      throw InternalError(fmt::format("waitpid({}): {}", child, std::strerror(errno)));
    }
    int signal = 0;
    if (::sigwait(&watched, &signal) == 0 && signal != SIGCHLD) pass_on(signal, child, num_asked);
  }
}

}  // namespace

int run_unwatched(const LaunchCommand& command) {
  const sigset_t watched = watched_signals();
  ::pthread_sigmask(SIG_BLOCK, &watched, nullptr);
  const int code = wait_for(start(command, watched), watched);
  if (code == kCannotStart) {
    throw IoError(fmt::format(
        "{} could not be started; install Open MPI (Debian: openmpi-bin) or start the ranks with "
        "your own launcher",
        command.words.front()));
  }
  return code;
}

int run_unwatched(const LaunchOptions& options,
                  const std::vector<std::string>& program_and_arguments) {
  const Machine machine = find_machine();
  const LaunchPlan plan =
      make_launch_plan(options, ParallelConfig(), machine, find_slurm_allocation());
  return run_unwatched(launch_command(plan, program_and_arguments, machine));
}

std::string planned_command(const LaunchOptions& options, const ParallelConfig& parallel,
                            const std::vector<std::string>& program_and_arguments) {
  const Machine machine = find_machine();
  const LaunchPlan plan = make_launch_plan(options, parallel, machine, find_slurm_allocation());
  return fmt::format("# {}\n{}", describe(plan),
                     command_text(launch_command(plan, program_and_arguments, machine)));
}

}  // namespace molora
