#include "launcher/supervisor.h"

#include <poll.h>
#include <signal.h>
#include <sys/resource.h>

#include <algorithm>
#include <array>
#include <chrono>
#include <filesystem>
#include <optional>
#include <set>

#include <fmt/format.h>
#include <spdlog/spdlog.h>

#include "base/error.h"
#include "io/file.h"
#include "launcher/plan/host_probe.h"
#include "launcher/plan/launch_plan.h"
#include "launcher/plan/machine.h"
#include "launcher/plan/slurm_allocation.h"
#include "launcher/supervise/attempt.h"
#include "launcher/supervise/attempt_end.h"
#include "launcher/supervise/child_process.h"
#include "launcher/supervise/log_relay.h"
#include "launcher/supervise/restart_policy.h"
#include "launcher/supervise/resumed_words.h"
#include "launcher/supervise/stop_request.h"
#include "launcher/system/signal_queue.h"
#include "watch/fault_kind.h"
#include "watch/reason_file.h"

namespace molora {

namespace {

constexpr std::array kSignals = {SIGCHLD, SIGINT, SIGTERM, SIGUSR1, SIGUSR2, SIGHUP, SIGTSTP};

// A connection, a log file and some more for each rank.
void raise_file_limit() {
  rlimit limit{};
  if (::getrlimit(RLIMIT_NOFILE, &limit) != 0) return;
  limit.rlim_cur = limit.rlim_max;
  ::setrlimit(RLIMIT_NOFILE, &limit);
}

class Supervisor {
 public:
  explicit Supervisor(const SupervisedJob& job)
      : job_(job),
        machine_(find_machine()),
        plan_(make_launch_plan(job.options, job.config.parallel(), machine_,
                               find_slurm_allocation())),
        current_plan_(plan_),
        folder_(job.config.output_dir()),
        words_(job.program_and_arguments) {
    make_folders(folder_ / "logs");
    relay_.emplace(LogRelay::Options{folder_ / "logs", job.is_terminal});
  }

  int run() {
    spdlog::info("{}", describe(plan_));
    for (number_ = 1;; ++number_) {
      const AttemptResult result = try_once();
      if (!result.reason) return end_well(result.exit_code);
      const std::optional<int> code = decide(result);
      if (code) return *code;
    }
  }

 private:
  AttemptResult try_once() {
    try {
      Attempt attempt({current_plan_, job_.config.supervisor(), machine_, words_, number_},
                      {*relay_, signals_, stop_});
      return attempt.run();
    } catch (const IoError& error) {
      AttemptResult result;
      result.reason.emplace();
      result.reason->set_fault(FAULT_LAUNCH);
      result.exit_code = static_cast<int>(exit_code_of(FAULT_LAUNCH));
      result.reason->set_exit_code(result.exit_code);
      result.reason->set_attempt(number_);
      result.reason->set_sentence(
          fmt::format("the ranks could not be started: {}{}", error.what(), missing_text()));
      return result;
    }
  }

  // What to do when there is no launcher on this machine; "" when there is.
  std::string missing_text() const {
    const Environment environment = process_environment();
    const auto is_missing = [&](LaunchPlan::Launcher launcher, const char* program) {
      return plan_.launcher == launcher && program_on_path(environment, program).empty();
    };
    if (is_missing(LaunchPlan::Launcher::kMpirun, "mpirun")) {
      return "; install Open MPI (Debian: openmpi-bin) or start the ranks with your own launcher";
    }
    return is_missing(LaunchPlan::Launcher::kSrun, "srun") ? "; install Slurm's client programs"
                                                           : "";
  }

  int end_well(int code) {
    if (code == 0) keep([&] { remove_reason(folder_); });
    if (number_ > 1) {
      spdlog::info("the run has ended with code {} after {} restart{} (logs/faults.jsonl)", code,
                   number_ - 1, number_ == 2 ? "" : "s");
    }
    return code;
  }

  // After a bad end: the exit code when it is the last one.
  std::optional<int> decide(const AttemptResult& result) {
    const Reason& reason = *result.reason;
    if (!policy_) policy_.emplace(job_.config.supervisor(), result.first_saved_step);
    if (result.saved_step > result.first_saved_step) has_saved_ = true;
    const RestartDecision decision =
        policy_->decide({reason.fault(), std::max(result.saved_step, result.first_saved_step),
                         plan_host(reason), stop_.is_asked()},
                        can_run_without());
    if (decision.kind == RestartDecision::kEnd) return end_badly(reason, decision.why);
    words_ = resumed_words(job_.program_and_arguments, job_.config.checkpoint().resume(),
                           has_saved_ ? Checkpoints::kOfThisRun : Checkpoints::kNone);
    tell(reason, spdlog::level::warn, decision.why + "; " + next_text(result));
    use_hosts(decision.left_out);
    pause(decision.delay_seconds);
    if (!stop_.is_asked()) {
      const std::optional<std::string> end = wait_for_hosts();
      if (end) return end_badly(reason, *end);
    }
    if (!stop_.is_asked()) return std::nullopt;
    spdlog::warn("asked to stop while waiting for a restart; the newest checkpoint is of step {}",
                 result.saved_step);
    return static_cast<int>(ExitCode::kRequeue);
  }

  int end_badly(const Reason& reason, const std::string& why) {
    const bool is_wish = reason.fault() == FAULT_NONE;
    tell(reason, spdlog::level::err, is_wish ? "ended" : why);
    return reason.exit_code();
  }

  // The sentence, whole, to the files and to the log.
  void tell(Reason reason, spdlog::level::level_enum level, const std::string& action) {
    const std::string hint = advice(reason);
    reason.set_action(action);
    reason.set_time(utc_time_text());
    reason.set_sentence(
        fmt::format("{}; {}{}{}", reason.sentence(), action, hint.empty() ? "" : "; ", hint));
    keep([&] { write_reason(folder_, reason); });
    keep([&] { append_fault(folder_, reason); });
    spdlog::log(level, "{}", reason.sentence());
  }

  // A reason that cannot be written is still told.
  template <typename Work>
  void keep(const Work& work) {
    try {
      work();
    } catch (const Error& error) {
      spdlog::warn("{}", error.what());
    }
  }

  std::string next_text(const AttemptResult& result) const {
    const int64_t step = std::max(result.saved_step, result.first_saved_step);
    return step > 0 ? fmt::format("the run goes on from step {}", step)
                    : std::string("the run begins again");
  }

  // The host of a fault by its name in the plan.
  std::optional<std::string> plan_host(const Reason& reason) const {
    if (!reason.has_host()) return std::nullopt;
    for (const Host& host : plan_.hosts) {
      if (is_same_host(host.name, reason.host())) return host.name;
    }
    return reason.host();
  }

  CanRunWithout can_run_without() const {
    return [this](const std::set<std::string>& hosts) {
      return without_hosts(plan_, job_.config.parallel(), hosts).has_value();
    };
  }

  void use_hosts(const std::set<std::string>& left_out) {
    if (left_out == left_out_) return;
    left_out_ = left_out;
    const auto plan = without_hosts(plan_, job_.config.parallel(), left_out);
    if (!plan) throw InternalError("the policy has left out hosts that the job needs");
    current_plan_ = *plan;
    spdlog::warn("from now on: {}", describe(current_plan_));
  }

  // Until all hosts answer or are given up; returns why the run ends when it cannot go on.
  std::optional<std::string> wait_for_hosts() {
    if (current_plan_.is_local) return std::nullopt;
    constexpr std::chrono::seconds kProbe{5};
    const auto until = std::chrono::steady_clock::now() +
                       std::chrono::duration<double>(job_.config.supervisor().wait_for_hosts());
    bool has_told = false;
    while (!stop_.is_asked()) {
      const auto names = unreachable_hosts(current_plan_, machine_, kProbe);
      if (names.empty()) return std::nullopt;
      if (std::chrono::steady_clock::now() > until) {
        const auto decision =
            policy_->give_up_hosts({names.begin(), names.end()}, can_run_without());
        if (decision.kind == RestartDecision::kEnd) return decision.why;
        spdlog::warn("{}", decision.why);
        use_hosts(decision.left_out);
        return std::nullopt;
      }
      if (!has_told) spdlog::warn("waiting for {} to answer", fmt::join(names, ", "));
      has_told = true;
      pause(1.0);
    }
    return std::nullopt;
  }

  // Ends early when a stop is asked for.
  void pause(double seconds) {
    const auto until = std::chrono::steady_clock::now() + std::chrono::duration<double>(seconds);
    while (!stop_.is_asked() && std::chrono::steady_clock::now() < until) {
      pollfd wanted{signals_.descriptor(), POLLIN, 0};
      constexpr int kPollMs = 100;
      ::poll(&wanted, 1, kPollMs);
      while (const auto signal = signals_.next()) stop_.take(*signal);
    }
  }

  const SupervisedJob& job_;
  Machine machine_;
  LaunchPlan plan_;          // with all hosts
  LaunchPlan current_plan_;  // without those that are left out
  std::filesystem::path folder_;
  std::vector<std::string> words_;  // of the next start
  std::optional<LogRelay> relay_;
  SignalQueue signals_{kSignals};
  StopRequest stop_;
  std::optional<RestartPolicy> policy_;  // from the first end on
  std::set<std::string> left_out_;
  bool has_saved_ = false;
  int number_ = 1;
};

}  // namespace

int run_supervised(const SupervisedJob& job) {
  raise_file_limit();
  adopt_orphans();
  ::signal(SIGPIPE, SIG_IGN);
  return Supervisor(job).run();
}

}  // namespace molora
