#include "launcher/agent/supervised_agent.h"

#include <poll.h>
#include <signal.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <chrono>
#include <fstream>
#include <string>
#include <thread>
#include <utility>

#include <fmt/format.h>
#include <spdlog/spdlog.h>

#include "base/error.h"
#include "base/host_name.h"

namespace molora {

namespace {

constexpr int kPollMs = 200;
constexpr double kSecondsBetweenBeats = 1.0;
constexpr double kDefaultHeartbeatTimeout = 30.0;  // until the supervisor has said another
constexpr size_t kMaxBacklogBytes = size_t{2} << 20;
// Somebody whom the worker has started may hold its pipes for ever.
constexpr double kSecondsForLastWords = 1.0;
constexpr double kSecondsForSending = 10.0;

AgentHello hello_of(const RankEnvironment& environment, pid_t worker) {
  AgentHello hello;
  hello.set_token(environment.token);
  hello.set_rank(static_cast<uint32_t>(environment.rank));
  hello.set_world_size(static_cast<uint32_t>(environment.world_size));
  hello.set_host(host_name());
  hello.set_pid(worker);
  return hello;
}

std::string name_of(pid_t process) {
  std::ifstream file("/proc/" + std::to_string(process) + "/comm");
  std::string name;
  std::getline(file, name);
  return name;
}

// Which of Open MPI's processes may have started us: they hang when a host of the job is lost.
bool is_launcher_name(const std::string& name) {
  constexpr std::array kNames = {"orted", "prted", "mpirun", "mpiexec", "orterun", "prterun"};
  return std::ranges::find(kNames, name) != kNames.end();
}

}  // namespace

SupervisedAgent::SupervisedAgent(const RankEnvironment& rank, Parts parts)
    : parent_(::getppid()),
      signals_(parts.signals),
      out_(std::move(parts.out)),
      err_(std::move(parts.err)),
      process_(parts.worker),
      view_(parts.box, process_, clock_.now()),
      link_(rank.supervisor.value(), hello_of(rank, parts.worker), clock_.now()),
      heartbeat_timeout_(kDefaultHeartbeatTimeout) {}

int SupervisedAgent::run() {
  while (true) {
    wait();
    const double now = clock_.now();
    pass_signals_on();
    relay_all();
    process_.look();
    link_.step(now);
    obey(now);
    if (process_.has_ended()) break;
    report(now);
    const bool is_lost = link_.is_lost(now, heartbeat_timeout_);
    if (is_lost || is_launcher_gone()) {
      spdlog::error("host {}: {}; ending this rank", host_name(),
                    is_lost ? link_.lost_text(heartbeat_timeout_) : "the launcher is gone");
      end_everything();
      return static_cast<int>(ExitCode::kPeer);
    }
  }
  finish();
  return ordered_code_.value_or(process_.exit_code());
}

void SupervisedAgent::wait() {
  const bool is_full = link_.backlog() > kMaxBacklogBytes;
  std::array<pollfd, 4> wanted = {
      pollfd{signals_.descriptor(), POLLIN, 0}, pollfd{is_full ? -1 : out_.descriptor(), POLLIN, 0},
      pollfd{is_full ? -1 : err_.descriptor(), POLLIN, 0}, link_.wanted()};
  ::poll(wanted.data(), wanted.size(), kPollMs);
}

void SupervisedAgent::pass_signals_on() {
  while (const std::optional<int> signal = signals_.next()) {
    if (*signal != SIGCHLD) process_.signal(*signal);
  }
}

void SupervisedAgent::relay(OutputPipe& pipe, LogLines::Stream stream) {
  if (link_.backlog() <= kMaxBacklogBytes) send_lines(stream, pipe.take_lines());
}

void SupervisedAgent::relay_all() {
  relay(out_, LogLines::out);
  relay(err_, LogLines::err);
}

void SupervisedAgent::send_lines(LogLines::Stream stream, std::string text) {
  if (text.empty()) return;
  FromAgent message;
  message.mutable_lines()->set_stream(stream);
  message.mutable_lines()->set_text(std::move(text));
  link_.send(message);
}

void SupervisedAgent::report(double now) {
  RankState state = view_.state(now);
  process_.watch_shared_memory(state.phase(), now);
  if (view_.has_failure() && !has_told_failure_) {
    // At once: the launcher may kill us before the worker has left.
    has_told_failure_ = true;
    next_beat_ = now;
  }
  const bool is_news = state.phase() != told_phase_ || state.process() != told_process_;
  if (now < next_beat_ && !is_news) return;
  next_beat_ = now + kSecondsBetweenBeats;
  told_phase_ = state.phase();
  told_process_ = state.process();
  FromAgent message;
  *message.mutable_state() = std::move(state);
  link_.send(message);
  if (has_told_failure_) send_departure();
}

void SupervisedAgent::obey(double now) {
  while (const std::optional<ToAgent> order = link_.next()) {
    if (order->heartbeat_timeout() > 0.0) heartbeat_timeout_ = order->heartbeat_timeout();
    if (order->signal() != 0) process_.signal(order->signal());
    if (order->wants_record()) {
      FromAgent message;
      *message.mutable_record() = view_.record(now);
      link_.send(message);
    }
    if (order->is_end() && !process_.has_ended()) {
      ordered_code_ = order->exit_code();
      process_.note_shared_memory();
      process_.kill();
    }
  }
}

// The worker has ended: its last words, how it ended, and nothing of it stays.
void SupervisedAgent::finish() {
  process_.kill();  // whom it has started
  process_.remove_shared_memory();
  const double until = clock_.now() + kSecondsForLastWords;
  while ((out_.descriptor() >= 0 || err_.descriptor() >= 0) && clock_.now() < until) {
    send_lines(LogLines::out, out_.take_lines());
    send_lines(LogLines::err, err_.take_lines());
    link_.step(clock_.now());
    wait();
    pass_signals_on();
  }
  send_lines(LogLines::out, out_.take_rest());
  send_lines(LogLines::err, err_.take_rest());
  FromAgent state;
  *state.mutable_state() = view_.state(clock_.now());
  link_.send(state);
  send_departure();
  send_all();
}

// Until the supervisor has closed its end as well: what is on the way is not to be cut off.
void SupervisedAgent::send_all() {
  const double until = clock_.now() + kSecondsForSending;
  while (clock_.now() < until && !link_.is_lost(clock_.now(), heartbeat_timeout_)) {
    link_.step(clock_.now());
    obey(clock_.now());
    if (link_.is_up() && link_.backlog() == 0) link_.close_output();
    wait();
    pass_signals_on();
  }
}

void SupervisedAgent::end_everything() {
  process_.note_shared_memory();
  process_.kill();
  constexpr double kSecondsForLauncher = 3.0;
  const double until = clock_.now() + kSecondsForLauncher;
  const auto pause = std::chrono::milliseconds(kPollMs);
  while (!process_.has_ended() && clock_.now() < until) {
    std::this_thread::sleep_for(pause / 10);
    process_.look();
  }
  process_.remove_shared_memory();
  if (!is_launcher_name(name_of(parent_))) return;
  while (!is_launcher_gone() && clock_.now() < until) std::this_thread::sleep_for(pause);
  if (!is_launcher_gone()) ::kill(parent_, SIGKILL);
}

void SupervisedAgent::send_departure() {
  FromAgent message;
  *message.mutable_departure() = view_.departure();
  link_.send(message);
}

bool SupervisedAgent::is_launcher_gone() const { return ::getppid() != parent_; }

}  // namespace molora
