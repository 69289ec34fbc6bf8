#include "launcher/supervise/attempt.h"

#include <signal.h>

#include <algorithm>
#include <utility>

#include <fmt/format.h>
#include <spdlog/spdlog.h>

#include "launcher/agent/rank_environment.h"
#include "watch/flight_comparison.h"

namespace molora {

namespace {

using Launcher = LaunchOptions::Launcher;

constexpr int kPollMs = 100;
// The ranks of an attempt that is over: to leave by themselves, with the launcher, by KILL.
constexpr double kSecondsForAgents = 3.0;
constexpr double kSecondsForLauncher = 2.0;
constexpr double kSecondsForKill = 2.0;
// After the ranks have left well, mpirun still has to put its daemons away.
constexpr double kSecondsForGoodEnd = 30.0;

std::string launcher_name(const LaunchPlan& plan) {
  if (plan.launcher == Launcher::kMpirun) return "mpirun";
  if (plan.launcher == Launcher::kSrun) return "srun";
  return "the process";
}

AgentServer::Options server_options(const Attempt::Options& options) {
  return {options.plan.is_local ? Reach::kThisHost : Reach::kAllHosts, make_token(),
          options.plan.num_ranks(), options.config.heartbeat_timeout()};
}

Monitor::Options monitor_options(const Attempt::Options& options) {
  Monitor::Options result;
  result.world_size = options.plan.num_ranks();
  result.attempt = options.number;
  result.heartbeat_timeout = options.config.heartbeat_timeout();
  result.start_deadline = options.config.deadlines().start();
  for (const Host& host : options.plan.hosts) {
    result.hosts.insert(result.hosts.end(), static_cast<size_t>(host.slots), host.name);
  }
  result.launcher = launcher_name(options.plan);
  result.compare = compare_records;
  return result;
}

// Of this host, as ranks on other hosts may know it.
SupervisorAddress address_of(const Attempt::Options& options, int port) {
  SupervisorAddress address;
  address.port = port;
  for (const std::string& text : options.machine.addresses) {
    const bool is_ipv4 = text.find(':') == std::string::npos;
    if (is_ipv4 && !options.plan.is_local) address.hosts.push_back(text);
  }
  address.hosts.emplace_back("127.0.0.1");
  return address;
}

ChildProcess::Start child_start(const Attempt::Options& options, const AgentServer& server,
                                const sigset_t& signal_mask) {
  ChildProcess::Start start;
  start.command = launch_command(options.plan, options.program_and_arguments, options.machine);
  const std::string address = address_of(options, server.port()).text();
  start.forced = {{kSupervisorVariable, address, ""},
                  {kTokenVariable, server.token(), ""},
                  {kAttemptVariable, std::to_string(options.number), ""}};
  if (options.plan.launcher == Launcher::kNone) start.unset = rank_variables();
  start.has_stdin = options.plan.launcher == Launcher::kNone;
  start.signal_mask = signal_mask;
  return start;
}

}  // namespace

Attempt::Attempt(const Options& options, const Surroundings& surroundings)
    : options_(options),
      around_(surroundings),
      now_(clock_.now()),
      server_(server_options(options)),
      monitor_(monitor_options(options), now_),
      child_(child_start(options, server_, surroundings.signals.mask_before())) {
  around_.relay.begin_attempt(options.number, options.plan.num_ranks());
}

AttemptResult Attempt::run() {
  Monitor::Action action = Monitor::Action::kNothing;
  while (action != Monitor::Action::kEnd && !around_.stop.is_urgent()) {
    wait();
    step();
    if (const std::optional<int> code = child_.exit_code()) monitor_.launcher_ended(*code, now_);
    action = monitor_.tick(now_);
    if (action != Monitor::Action::kAskForRecords) continue;
    ToAgent question;
    question.set_wants_record(true);
    server_.send_all(question);
  }
  AttemptResult result = action == Monitor::Action::kEnd
                             ? AttemptResult{monitor_.reason(), monitor_.exit_code()}
                             : stopped_result();
  if (result.reason) {
    end_ranks(result.exit_code);
  } else {
    leave_launcher_time(kSecondsForGoodEnd);
  }
  child_.signal_group(SIGKILL);
  if (!kill_descendants(kSecondsForKill)) spdlog::warn("some processes of the run do not end");
  relay_launcher();
  around_.relay.add_launcher(child_.out().take_rest());
  around_.relay.add_launcher(child_.err().take_rest());
  if (!monitor_.was_heard_of()) around_.relay.show_launcher_words();
  around_.relay.end_attempt();
  result.saved_step = monitor_.saved_step();
  result.first_saved_step = monitor_.first_saved_step();
  return result;
}

void Attempt::on_hello(const AgentHello& hello) {
  monitor_.hello(hello, now_);
  around_.relay.begin_rank(hello);
  if (!has_passed_stop_on_) return;
  ToAgent request;
  request.set_signal(SIGUSR1);
  server_.send(static_cast<int>(hello.rank()), request);
}

void Attempt::on_message(int rank, const FromAgent& message) {
  switch (message.message_case()) {
    case FromAgent::kState:
      return monitor_.state(rank, message.state(), now_);
    case FromAgent::kLines:
      return around_.relay.add(rank, message.lines());
    case FromAgent::kRecord:
      return monitor_.record(rank, message.record(), now_);
    case FromAgent::kDeparture:
      return monitor_.departure(rank, message.departure(), now_);
    case FromAgent::kHello:
    case FromAgent::MESSAGE_NOT_SET:
      return;
  }
}

void Attempt::on_gone(int rank) { monitor_.connection_lost(rank, now_); }

void Attempt::wait() {
  std::vector<pollfd> wanted = around_.relay.wanted();
  wanted.push_back({around_.signals.descriptor(), POLLIN, 0});
  wanted.push_back({child_.out().descriptor(), POLLIN, 0});
  wanted.push_back({child_.err().descriptor(), POLLIN, 0});
  server_.add_wanted(wanted);
  ::poll(wanted.data(), wanted.size(), kPollMs);
  now_ = clock_.now();
}

// Everything but decisions.
void Attempt::step() {
  take_signals();
  relay_launcher();
  if (now_ >= next_beat_) {
    next_beat_ = now_ + 1.0;
    ToAgent beat;
    beat.set_heartbeat_timeout(options_.config.heartbeat_timeout());
    server_.send_all(beat);
  }
  server_.step(*this, now_);
  around_.relay.write_some();
}

void Attempt::take_signals() {
  while (const std::optional<int> signal = around_.signals.next()) {
    if (*signal == SIGTSTP) spdlog::warn("Ctrl-Z would end the run, so it does nothing here");
    around_.stop.take(*signal);
  }
  if (!around_.stop.is_asked() || has_passed_stop_on_) return;
  has_passed_stop_on_ = true;
  ToAgent request;
  request.set_signal(SIGUSR1);
  server_.send_all(request);
}

void Attempt::relay_launcher() {
  around_.relay.add_launcher(child_.out().take_lines());
  around_.relay.add_launcher(child_.err().take_lines());
}

// From the friendly way to the sure one.
void Attempt::end_ranks(int exit_code) {
  ToAgent order;
  order.set_is_end(true);
  order.set_exit_code(exit_code);
  server_.send_all(order);
  const auto wait_until = [this](double until, const auto& is_enough) {
    while (now_ < until && !is_enough() && !around_.stop.is_last()) {
      wait();
      step();
    }
  };
  wait_until(now_ + kSecondsForAgents, [this] { return server_.num_connected() == 0; });
  if (child_.exit_code()) return;
  child_.signal(SIGTERM);
  wait_until(now_ + kSecondsForLauncher, [this] { return child_.exit_code().has_value(); });
}

void Attempt::leave_launcher_time(double seconds) {
  const double until = now_ + seconds;
  while (!child_.exit_code() && now_ < until && !around_.stop.is_urgent()) {
    wait();
    step();
  }
  const int code = child_.exit_code().value_or(0);
  if (code == 0 || code == monitor_.exit_code()) return;
  spdlog::warn("all ranks have left well, but {} ended with code {} (logs/launcher.log)",
               launcher_name(options_.plan), code);
}

AttemptResult Attempt::stopped_result() const {
  constexpr int kSignalBase = 128;
  AttemptResult result;
  result.exit_code = kSignalBase + around_.stop.signal();
  result.reason.emplace();
  result.reason->set_fault(FAULT_NONE);
  result.reason->set_exit_code(result.exit_code);
  result.reason->set_sentence("the run was ended by a second request to stop, without a save");
  result.reason->set_attempt(options_.number);
  result.reason->set_saved_step(monitor_.saved_step());
  return result;
}

}  // namespace molora
