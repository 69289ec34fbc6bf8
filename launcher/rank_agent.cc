#include "launcher/rank_agent.h"

#include <signal.h>
#include <sys/prctl.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <cstdlib>
#include <cstring>
#include <optional>
#include <utility>

#include <fmt/format.h>
#include <spdlog/spdlog.h>

#include "base/error.h"
#include "base/log.h"
#include "launcher/agent/lone_agent.h"
#include "launcher/agent/rank_environment.h"
#include "launcher/agent/supervised_agent.h"
#include "launcher/system/output_pipe.h"
#include "launcher/system/signal_queue.h"

namespace molora {

namespace {

constexpr std::array kSignals = {SIGCHLD, SIGUSR1, SIGUSR2, SIGINT, SIGTERM, SIGHUP, SIGCONT};

struct OutputPipes {
  PipeEnds out;
  PipeEnds err;
};

// In the worker: what ties it to its agent, and nothing more of that.
void begin_worker(pid_t agent, std::optional<OutputPipes>& pipes) {
  ::setpgid(0, 0);
  ::prctl(PR_SET_PDEATHSIG, SIGKILL);
  if (::getppid() != agent) ::_exit(static_cast<int>(ExitCode::kPeer));  // gone already
  if (!pipes) return;
  ::dup2(pipes->out.write.get(), STDOUT_FILENO);
  ::dup2(pipes->err.write.get(), STDERR_FILENO);
  pipes.reset();
}

int run_agent(const RankEnvironment& environment, pid_t worker, const BlackBox& box,
              SignalQueue& signals, std::optional<OutputPipes>& pipes) {
  if (!environment.supervisor) return LoneAgent(environment, worker, box, signals).run();
  pipes->out.write.reset();
  pipes->err.write.reset();
  SupervisedAgent agent(
      environment, {worker, box, signals, std::move(pipes->out.read), std::move(pipes->err.read)});
  return agent.run();
}

// The end of this process, whatever happens.
[[noreturn]] void be_agent(const RankEnvironment& environment, pid_t worker, const BlackBox& box,
                           SignalQueue& signals, std::optional<OutputPipes>& pipes) noexcept {
  int code = static_cast<int>(ExitCode::kInternal);
  try {
    ::setpgid(worker, worker);
    ::signal(SIGPIPE, SIG_IGN);
    setup_logging(environment.rank, environment.world_size, LogVerbosity::kNormal);
    code = run_agent(environment, worker, box, signals, pipes);
  } catch (const std::exception& error) {
    spdlog::error("the agent of rank {} failed: {}", environment.rank, error.what());
    ::kill(-worker, SIGKILL);
  }
  ::_exit(code);
}

}  // namespace

std::unique_ptr<BlackBox> become_worker() {
  const RankEnvironment environment = rank_environment(process_environment());
  auto box = BlackBox::make();
  box->set_rank(environment.rank, environment.world_size);
  std::optional<OutputPipes> pipes;
  if (environment.supervisor) pipes.emplace(OutputPipes{make_pipe(), make_pipe()});
  std::optional<SignalQueue> signals(std::in_place, kSignals);
  const pid_t agent = ::getpid();
  const pid_t worker = ::fork();
  if (worker < 0) {
    throw IoError(fmt::format("the worker cannot be started: {}", std::strerror(errno)));
  }
  if (worker != 0) be_agent(environment, worker, *box, *signals, pipes);
  begin_worker(agent, pipes);
  signals.reset();
  bind_black_box(box.get());
  return box;
}

bool has_supervisor() { return std::getenv(kSupervisorVariable) != nullptr; }

}  // namespace molora
