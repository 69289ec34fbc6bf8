#include "launcher/supervise/agent_server.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/socket.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <optional>
#include <random>
#include <utility>

#include <fmt/format.h>
#include <spdlog/spdlog.h>

#include "base/error.h"

namespace molora {

namespace {

constexpr size_t kMaxHelloBytes = 4096;
constexpr double kSecondsForHello = 10.0;
constexpr size_t kMaxStrangers = 256;  // connections that have not shown the token
constexpr int kMaxPiecesAtOnce = 16;   // of 64 KiB; the others have their turn as well

// Takes as long for a wrong token as for the right one.
bool is_same_token(const std::string& a, const std::string& b) {
  if (a.size() != b.size()) return false;
  unsigned difference = 0;
  for (size_t i = 0; i < a.size(); ++i) difference |= static_cast<unsigned char>(a[i] ^ b[i]);
  return difference == 0;
}

}  // namespace

struct AgentServer::Connection {
  FileDescriptor socket;
  FrameReader reader{kMaxHelloBytes};
  FrameWriter writer;
  double since = 0.0;
  std::optional<int> rank;
  bool is_over = false;
};

AgentServer::AgentServer(Options options) : options_(std::move(options)) {
  listener_ = FileDescriptor(::socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0));
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_addr.s_addr =
      htonl(options_.reach == Reach::kThisHost ? INADDR_LOOPBACK : INADDR_ANY);
  socklen_t size = sizeof address;
  auto* any = reinterpret_cast<sockaddr*>(&address);
  const bool is_listening = listener_ && ::bind(listener_.get(), any, size) == 0 &&
                            ::listen(listener_.get(), SOMAXCONN) == 0 &&
                            ::getsockname(listener_.get(), any, &size) == 0;
  if (!is_listening) {
    throw IoError(fmt::format("no port to listen on for the ranks: {}", std::strerror(errno)));
  }
  port_ = ntohs(address.sin_port);
}

AgentServer::~AgentServer() = default;

void AgentServer::add_wanted(std::vector<pollfd>& wanted) const {
  wanted.push_back({listener_.get(), POLLIN, 0});
  for (const auto& connection : connections_) {
    const short events = connection->writer.size() > 0 ? POLLIN | POLLOUT : POLLIN;
    wanted.push_back({connection->socket.get(), events, 0});
  }
}

void AgentServer::step(AgentEvents& events, double now) {
  accept_all(now);
  for (const auto& connection : connections_) serve(*connection, events, now);
  std::erase_if(connections_, [](const auto& connection) { return connection->is_over; });
}

void AgentServer::send(int rank, const ToAgent& message) {
  for (const auto& connection : connections_) {
    if (connection->rank == rank) connection->writer.put(message);
  }
}

void AgentServer::send_all(const ToAgent& message) {
  for (const auto& connection : connections_) {
    if (connection->rank) connection->writer.put(message);
  }
}

int AgentServer::num_connected() const {
  return static_cast<int>(std::ranges::count_if(
      connections_, [](const auto& connection) { return connection->rank.has_value(); }));
}

void AgentServer::accept_all(double now) {
  const auto strangers = static_cast<size_t>(std::ranges::count_if(
      connections_, [](const auto& connection) { return !connection->rank; }));
  for (size_t room = kMaxStrangers - std::min(strangers, kMaxStrangers); room > 0; --room) {
    FileDescriptor socket(
        ::accept4(listener_.get(), nullptr, nullptr, SOCK_NONBLOCK | SOCK_CLOEXEC));
    if (!socket) return;
    const int on = 1;
    ::setsockopt(socket.get(), IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    ::setsockopt(socket.get(), IPPROTO_TCP, TCP_THIN_LINEAR_TIMEOUTS, &on, sizeof on);
    auto connection = std::make_unique<Connection>();
    connection->socket = std::move(socket);
    connection->since = now;
    connections_.push_back(std::move(connection));
  }
}

void AgentServer::serve(Connection& connection, AgentEvents& events, double now) {
  ReadResult result = ReadResult::kSome;
  try {
    for (int i = 0; i < kMaxPiecesAtOnce && result == ReadResult::kSome && !connection.is_over;
         ++i) {
      std::string bytes;
      result = read_some(connection.socket.get(), bytes);
      connection.reader.add(bytes);
      FromAgent message;
      while (!connection.is_over && connection.reader.next(message)) {
        if (connection.rank) {
          events.on_message(*connection.rank, message);
        } else {
          greet(connection, message, events);
        }
      }
    }
  } catch (const CommError& error) {
    spdlog::warn("a connection of a rank is cut off: {}", error.what());
    connection.is_over = true;
  }
  if (result == ReadResult::kEnd) connection.is_over = true;
  if (!connection.rank && now - connection.since > kSecondsForHello) connection.is_over = true;
  if (!connection.is_over && !connection.writer.write_some(connection.socket.get())) {
    // What it has sent before is still to be read; its end comes then.
    connection.writer = FrameWriter();
  }
  if (connection.is_over && connection.rank) events.on_gone(*connection.rank);
}

void AgentServer::greet(Connection& connection, const FromAgent& message, AgentEvents& events) {
  const AgentHello& hello = message.hello();
  const bool is_welcome = message.has_hello() && is_same_token(hello.token(), options_.token) &&
                          hello.rank() < static_cast<uint32_t>(options_.world_size) &&
                          !is_connected(static_cast<int>(hello.rank()));
  if (!is_welcome) {
    connection.is_over = true;
    return;
  }
  connection.rank = static_cast<int>(hello.rank());
  connection.reader.set_max_bytes(kMaxFrameBytes);
  ToAgent welcome;
  welcome.set_heartbeat_timeout(options_.heartbeat_timeout);
  connection.writer.put(welcome);
  events.on_hello(hello);
}

bool AgentServer::is_connected(int rank) const {
  return std::ranges::any_of(connections_,
                             [rank](const auto& connection) { return connection->rank == rank; });
}

std::string make_token() {
  std::random_device device;
  std::string token;
  constexpr int kWords = 4;
  for (int i = 0; i < kWords; ++i) token += fmt::format("{:08x}", device());
  return token;
}

}  // namespace molora
