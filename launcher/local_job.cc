#include "launcher/local_job.h"

#include <fcntl.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstdlib>
#include <cstring>
#include <thread>

#include <fmt/format.h>

#include "base/error.h"

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

pid_t start(const JobCommand& command, const sigset_t& watched) {
  for (const auto& [name, value] : command.environment) {
    ::setenv(name.c_str(), value.c_str(), /*overwrite=*/0);
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

JobCommand job_command(const LocalJob& job, int num_cores) {
  JobCommand command;
  // Shared memory and TCP only: no probing of fabrics, which is slow and noisy on one machine.
  command.words = {"mpirun",          "--np",      std::to_string(job.num_ranks),
                   "--oversubscribe", "--bind-to", "none",
                   "--mca",           "pml",       "ob1",
                   "--mca",           "btl",       "self,vader,tcp",
                   job.program};
  command.words.insert(command.words.end(), job.arguments.begin(), job.arguments.end());
  command.environment = {
      // The user has chosen to be root; molora needs no rights of root.
      {"OMPI_ALLOW_RUN_AS_ROOT", "1"},
      {"OMPI_ALLOW_RUN_AS_ROOT_CONFIRM", "1"},
      // Containers often forbid the system call that this would use.
      {"OMPI_MCA_btl_vader_single_copy_mechanism", "none"},
      {"OMP_NUM_THREADS", std::to_string(std::max(1, num_cores / job.num_ranks))},
  };
  if (job.num_ranks >= num_cores) {
    // Ranks that wait must not take the core from ranks that work.
    command.environment.emplace_back("OMPI_MCA_mpi_yield_when_idle", "1");
  }
  return command;
}

int run_local_job(const LocalJob& job) {
  const auto cores = static_cast<int>(std::max(1U, std::thread::hardware_concurrency()));
  const sigset_t watched = watched_signals();
  ::pthread_sigmask(SIG_BLOCK, &watched, nullptr);
  const int code = wait_for(start(job_command(job, cores), watched), watched);
  if (code == kCannotStart) {
    throw IoError(
        "mpirun could not be started; install Open MPI (Debian: openmpi-bin) or start the ranks "
        "with your own launcher");
  }
  return code;
}

}  // namespace molora
