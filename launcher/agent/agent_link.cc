#include "launcher/agent/agent_link.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/socket.h>

#include <cerrno>
#include <utility>

#include <fmt/format.h>

#include "base/error.h"

namespace molora {

namespace {

constexpr double kSecondsForAnAddress = 3.0;

FileDescriptor make_socket() {
  FileDescriptor descriptor(::socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0));
  const int on = 1;
  ::setsockopt(descriptor.get(), IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
  // After an outage, be back soon: small streams repeat without ever longer pauses.
  ::setsockopt(descriptor.get(), IPPROTO_TCP, TCP_THIN_LINEAR_TIMEOUTS, &on, sizeof on);
  return descriptor;
}

}  // namespace

AgentLink::AgentLink(SupervisorAddress address, const AgentHello& hello, double now)
    : address_(std::move(address)), hello_(hello), heard_at_(now) {
  connect(now);
}

pollfd AgentLink::wanted() const {
  pollfd wanted{socket_.get(), POLLIN, 0};
  const bool has_output = stage_ == Stage::kConnecting || hello_writer_.size() > 0 ||
                          (stage_ == Stage::kUp && writer_.size() > 0);
  if (has_output) wanted.events |= POLLOUT;
  if (stage_ == Stage::kEnded) wanted.fd = -1;
  return wanted;
}

void AgentLink::step(double now) {
  const bool is_trying = stage_ == Stage::kConnecting || stage_ == Stage::kProving;
  if (is_trying && now > try_until_) give_up_address();
  if (stage_ == Stage::kTrying && now > try_until_) connect(now);
  if (stage_ == Stage::kConnecting) finish_connect();
  if (stage_ == Stage::kProving && !hello_writer_.write_some(socket_.get())) give_up_address();
  if (stage_ == Stage::kProving || stage_ == Stage::kUp) read(now);
  if (stage_ == Stage::kUp && !writer_.write_some(socket_.get())) stage_ = Stage::kEnded;
}

std::optional<ToAgent> AgentLink::next() {
  ToAgent message;
  try {
    if (!reader_.next(message)) return std::nullopt;
  } catch (const CommError&) {  // not our supervisor
    if (stage_ == Stage::kUp) {
      stage_ = Stage::kEnded;
    } else {
      give_up_address();
    }
    return std::nullopt;
  }
  if (stage_ == Stage::kProving) stage_ = Stage::kUp;
  heard_at_ = read_at_;
  return message;
}

void AgentLink::send(const FromAgent& message) { writer_.put(message); }

void AgentLink::close_output() { ::shutdown(socket_.get(), SHUT_WR); }

bool AgentLink::is_lost(double now, double timeout) const {
  return stage_ == Stage::kEnded || now - heard_at_ > timeout;
}

std::string AgentLink::lost_text(double timeout) const {
  const std::string where = address_.text();
  if (stage_ == Stage::kEnded) return fmt::format("the supervisor ({}) is gone", where);
  if (stage_ == Stage::kUp) {
    return fmt::format("nothing was heard of the supervisor ({}) for {:.0f} s", where, timeout);
  }
  return fmt::format("the supervisor could not be reached at {} within {:.0f} s", where, timeout);
}

void AgentLink::connect(double now) {
  try_until_ = now + kSecondsForAnAddress;
  const std::string& host = address_.hosts.at(next_host_);
  next_host_ = (next_host_ + 1) % address_.hosts.size();
  sockaddr_in to{};
  to.sin_family = AF_INET;
  to.sin_port = htons(static_cast<uint16_t>(address_.port));
  ::inet_pton(AF_INET, host.c_str(), &to.sin_addr);
  socket_ = make_socket();
  const int result = ::connect(socket_.get(), reinterpret_cast<sockaddr*>(&to), sizeof to);
  stage_ = Stage::kConnecting;
  if (result != 0 && errno != EINPROGRESS) give_up_address();
}

void AgentLink::finish_connect() {
  pollfd ready{socket_.get(), POLLOUT, 0};
  if (::poll(&ready, 1, 0) <= 0) return;
  int error = 0;
  socklen_t size = sizeof error;
  ::getsockopt(socket_.get(), SOL_SOCKET, SO_ERROR, &error, &size);
  if (error != 0) return give_up_address();
  stage_ = Stage::kProving;
  reader_ = FrameReader();
  hello_writer_ = FrameWriter();
  FromAgent first;
  *first.mutable_hello() = hello_;
  hello_writer_.put(first);
}

// The next one has its turn at once, the first one after a pause.
void AgentLink::give_up_address() {
  constexpr double kPause = 0.5;
  stage_ = Stage::kTrying;
  socket_.reset();
  hello_writer_ = FrameWriter();
  try_until_ = next_host_ == 0 ? try_until_ - kSecondsForAnAddress + kPause : 0.0;
}

void AgentLink::read(double now) {
  std::string bytes;
  ReadResult result = ReadResult::kSome;
  while (result == ReadResult::kSome) {
    bytes.clear();
    result = read_some(socket_.get(), bytes);
    reader_.add(bytes);
    if (!bytes.empty()) read_at_ = now;
  }
  if (result == ReadResult::kNothingNow) return;
  if (stage_ == Stage::kUp) {
    stage_ = Stage::kEnded;
  } else {
    give_up_address();
  }
}

}  // namespace molora
