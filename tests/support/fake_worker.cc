// A program in the shape of `molora train` without MPI and LibTorch:
//   fake_worker supervise FOLDER key=value...   the supervisor of a job of such workers
//   fake_worker work FOLDER key=value...        a rank, under a supervisor or under mpirun
// The workers "train": in each step two collectives, a checkpoint every second step. One of them
// breaks as told: fault=KIND rank=R step=S attempt=A (default 1; 0: every one).
#include <signal.h>
#include <unistd.h>

#include <atomic>
#include <chrono>
#include <cstdio>
#include <fstream>
#include <iostream>
#include <numeric>
#include <optional>
#include <thread>
#include <vector>

#include <fmt/format.h>
#include <spdlog/spdlog.h>

#include "base/error.h"
#include "base/log.h"
#include "launcher/rank_agent.h"
#include "launcher/supervisor.h"
#include "support/fake_job.h"
#include "watch/fault_kind.h"
#include "watch/place.h"

namespace {

using namespace molora;
using namespace molora::testing;

std::atomic<bool> is_stop_asked{false};

std::string variable_or(const char* name, const std::string& otherwise) {
  const char* value = std::getenv(name);
  return value != nullptr ? value : otherwise;
}

SupervisorConfig supervisor_config(const FakeSettings& settings) {
  SupervisorConfig config;
  config.set_max_restarts(static_cast<uint32_t>(settings.number("max_restarts", 1)));
  config.set_restart_delay(0.1);
  config.set_heartbeat_timeout(settings.number("heartbeat_timeout", 4));
  DeadlineConfig& deadlines = *config.mutable_deadlines();
  deadlines.set_start(20);
  deadlines.set_load(20);
  deadlines.set_step(static_cast<uint32_t>(settings.number("deadline", 20)));
  deadlines.set_save(20);
  deadlines.set_finish(20);
  return config;
}

class FakeWorker {
 public:
  FakeWorker(BlackBox& box, std::string folder, const FakeSettings& settings)
      : box_(box),
        folder_(std::move(folder)),
        settings_(settings),
        rank_(static_cast<int>(box.state().rank())),
        world_size_(static_cast<int>(box.state().world_size())),
        attempt_(std::stoi(variable_or("MOLORA_ATTEMPT", "1"))),
        collectives_(fmt::format("{}-{}", variable_or("FAKE_JOB", "fake"), attempt_), world_size_) {
    std::vector<int> ranks(static_cast<size_t>(world_size_));
    std::iota(ranks.begin(), ranks.end(), 0);
    communicator_ = box_.add_communicator("world", ranks);
  }

  int run(bool resumes) {
    box_.set_run(folder_, supervisor_config(settings_));
    // As long as MPI takes to start, and longer than an agent's loop (200 ms): what a worker maps
    // and leaves behind sooner, its agent does not know of.
    std::this_thread::sleep_for(std::chrono::milliseconds(500));
    box_.enter_phase(PHASE_LOAD);
    if (is_here("config", 0))
      throw ConfigError("train.steps: -1, expected at least 1\nsecond line");
    const int first = resumes ? saved_step() : 0;
    box_.set_saved_step(first);
    box_.set_step(first);
    box_.enter_phase(PHASE_STEP);
    for (int step = first + 1; step <= settings_.number("steps", 6); ++step) {
      train(step);
      if (step % 2 == 0 || collectives_.is_last(step)) save(step);
      if (collectives_.is_last(step)) return static_cast<int>(ExitCode::kRequeue);
    }
    box_.enter_phase(PHASE_FINISH);
    collective("barrier");
    spdlog::info("rank {} is done", rank_);
    return 0;
  }

 private:
  bool is_here(const std::string& kind, int step) const {
    const int attempt = settings_.number("attempt", 1);
    return settings_.text("fault") == kind && settings_.number("rank", 1) == rank_ &&
           settings_.number("step", 3) == step && (attempt == 0 || attempt == attempt_);
  }

  void collective(const char* operation) {
    const uint64_t sequence = ++sequence_;
    box_.enter_collective(communicator_, sequence, operation, 64);
    collectives_.meet(sequence, operation);
    box_.leave_collective();
  }

  void train(int step) {
    const PlaceScope place(WorkPlace{3, Direction::kBackward, "down_proj"});
    box_.set_place(current_place());
    std::this_thread::sleep_for(std::chrono::milliseconds(settings_.number("step_ms", 20)));
    if (is_stop_asked) collectives_.stop_after(step);
    collective("all_to_all");
    break_if_told(step);
    if (!is_here("skip", step)) collective("all_reduce");
    box_.set_step(step);
    std::fprintf(stderr, "step %d of start %d\n", step, attempt_);
    std::fprintf(stderr,
                 "\x1fp"
                 "bar %d\n\x1fq"
                 "only in the file %d\n",
                 step, step);
  }

  void break_if_told(int step) {
    if (is_here("kill", step)) ::kill(::getpid(), SIGKILL);
    if (is_here("stop", step)) ::kill(::getpid(), SIGSTOP);
    if (is_here("exit0", step)) ::_exit(0);
    if (is_here("exit3", step)) ::_exit(3);
    if (is_here("segfault", step)) ::kill(::getpid(), SIGSEGV);
    if (is_here("throw", step)) throw InternalError("layer 3: a check has failed");
    while (is_here("loop", step)) std::this_thread::sleep_for(std::chrono::milliseconds(10));
    if (is_here("kill_agent", step)) ::kill(::getppid(), SIGKILL);
    if (is_here("stop_agent", step)) ::kill(::getppid(), SIGSTOP);
    std::vector<std::vector<char>> taken;  // touched, until there is no more
    while (is_here("memory", step)) taken.emplace_back(1 << 20, 'x');
    if (is_here("grandchild", step)) leave_grandchild();
    if (is_here("last_words", step)) {
      std::fputs("these are my last words", stderr);
      ::_exit(70);
    }
    for (int i = 0; is_here("flood", step) && i < 200000; ++i) {
      std::fprintf(stdout, "line %d of a flood of lines that nobody wanted to read\n", i);
    }
    std::fflush(stdout);
  }

  // One that keeps our pipes open, in a group of its own.
  static void leave_grandchild() {
    if (::fork() == 0) {
      ::setsid();
      std::this_thread::sleep_for(std::chrono::seconds(60));
      ::_exit(0);
    }
    ::_exit(70);
  }

  int saved_step() const {
    int step = 0;
    std::ifstream(folder_ + "/saved") >> step;
    return step;
  }

  void save(int step) {
    const PhaseScope phase(PHASE_SAVE);
    collective("barrier");
    if (rank_ == 0) std::ofstream(folder_ + "/saved") << step;
    collective("barrier");
    box_.set_saved_step(step);
  }

  BlackBox& box_;
  std::string folder_;
  const FakeSettings& settings_;
  int rank_;
  int world_size_;
  int attempt_;
  FakeCollectives collectives_;
  uint64_t communicator_ = 0;
  uint64_t sequence_ = 0;
};

int work(const std::string& folder, const FakeSettings& settings, bool resumes) {
  const auto box = become_worker();
  ::signal(SIGUSR1, [](int) { is_stop_asked = true; });
  setup_logging(static_cast<int>(box->state().rank()), static_cast<int>(box->state().world_size()),
                LogVerbosity::kNormal);
  try {
    return FakeWorker(*box, folder, settings).run(resumes);
  } catch (const Error& error) {
    const int code = static_cast<int>(error.exit_code());
    spdlog::error("{}", error.what());
    box->set_failure(fault_of(error), code, error.what());
    return code;
  }
}

int supervise(const std::string& folder, const FakeSettings& settings, int argc, char** argv) {
  const std::string group = variable_or("FAKE_CGROUP", "");
  if (!group.empty()) std::ofstream(group + "/cgroup.procs") << ::getpid() << std::flush;
  SupervisedJob job;
  job.config.set_output_dir(folder);
  *job.config.mutable_supervisor() = supervisor_config(settings);
  job.options.num_ranks = settings.number("ranks", 2);
  job.program_and_arguments = {argv[0], "work", folder};
  for (int i = 3; i < argc; ++i) job.program_and_arguments.emplace_back(argv[i]);
  return run_supervised(job);
}

}  // namespace

int main(int argc, char** argv) {
  if (argc < 3) return 64;
  const FakeSettings settings(argc, argv);
  const std::string last = argv[argc - 1];
  if (std::string(argv[1]) == "work") return work(argv[2], settings, last == "auto");
  setup_logging(0, 1, LogVerbosity::kNormal);
  return supervise(argv[2], settings, argc, argv);
}
