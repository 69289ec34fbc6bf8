#include "serve/http_connection.h"

#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdlib>
#include <cstring>

namespace molora {

namespace {

using std::chrono::milliseconds;

constexpr size_t kMaxHeadBytes = 64 * 1024;
// A client that reads nothing for so long is taken for gone.
constexpr milliseconds kWriteTime{30'000};
// How soon an idle connection notices that the server stops.
constexpr milliseconds kIdleSlice{100};
// What is still read of a request that was answered without being read whole.
constexpr milliseconds kLingerTime{2'000};
constexpr size_t kLingerBytes = 64 * 1024 * 1024;

int milliseconds_until(HttpConnection::Clock::time_point by) {
  const auto left = std::chrono::ceil<milliseconds>(by - HttpConnection::Clock::now()).count();
  return static_cast<int>(std::clamp<int64_t>(left, 0, 1'000'000));
}

using NameOf = int (*)(int, sockaddr*, socklen_t*);  // getpeername, getsockname

void write_address(int socket, NameOf name_of, std::string& ip, int& port) {
  sockaddr_storage address{};
  socklen_t length = sizeof address;
  std::array<char, NI_MAXHOST> host{};
  std::array<char, NI_MAXSERV> service{};
  auto* generic = reinterpret_cast<sockaddr*>(&address);
  if (name_of(socket, generic, &length) != 0 ||
      ::getnameinfo(generic, length, host.data(), host.size(), service.data(), service.size(),
                    NI_NUMERICHOST | NI_NUMERICSERV) != 0) {
    return;
  }
  ip = host.data();
  port = std::atoi(service.data());
}

}  // namespace

// Pieces of a stream are small and each has to leave at once.
HttpConnection::HttpConnection(int socket) : socket_(socket) {
  const int on = 1;
  (void)::setsockopt(socket_, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
}

HttpConnection::~HttpConnection() { ::close(socket_); }

bool HttpConnection::await_request(milliseconds idle, const std::atomic<bool>& is_stopping) {
  if (begin_ < end_) return true;
  const Clock::time_point until = Clock::now() + idle;
  while (!is_stopping && Clock::now() < until) {
    if (wait_for(POLLIN, std::min(until, Clock::now() + kIdleSlice))) return true;
  }
  return false;
}

void HttpConnection::expect_head(Clock::time_point by) {
  part_ = Part::kHead;
  head_bytes_ = 0;
  is_late_ = false;
  by_ = by;
}

void HttpConnection::expect_body(Clock::time_point by) {
  part_ = Part::kBody;
  by_ = by;
}

bool HttpConnection::is_open() const {
  pollfd entry{socket_, POLLRDHUP, 0};
  const int ready = ::poll(&entry, 1, 0);
  return ready == 0 || (ready < 0 && errno == EINTR);
}

void HttpConnection::linger() {
  if (::shutdown(socket_, SHUT_WR) != 0) return;
  const Clock::time_point until = Clock::now() + kLingerTime;
  size_t total = 0;
  while (total < kLingerBytes && wait_for(POLLIN, until)) {
    const ssize_t count = ::recv(socket_, buffer_.data(), buffer_.size(), 0);
    if (count <= 0) return;
    total += static_cast<size_t>(count);
  }
}

bool HttpConnection::is_readable() const { return begin_ < end_ || wait_for(POLLIN, by_); }

bool HttpConnection::is_writable() const {
  return wait_for(POLLOUT, Clock::now() + kWriteTime) && is_open();
}

bool HttpConnection::wait_for(short events, Clock::time_point by) const {
  while (true) {
    pollfd entry{socket_, events, 0};
    const int ready = ::poll(&entry, 1, milliseconds_until(by));
    if (ready >= 0 || errno != EINTR) return ready > 0;
  }
}

// As recv(2): 0 when the client has closed its side, -1 when reading has failed.
ssize_t HttpConnection::read(char* data, size_t size) {
  if (begin_ == end_) {
    const ssize_t count = fill();
    if (count <= 0) return count;
  }
  const size_t count = std::min(size, end_ - begin_);
  if (part_ == Part::kHead && (head_bytes_ += count) > kMaxHeadBytes) return -1;
  std::memcpy(data, buffer_.data() + begin_, count);
  begin_ += count;
  return static_cast<ssize_t>(count);
}

ssize_t HttpConnection::fill() {
  if (Clock::now() >= by_ || !wait_for(POLLIN, by_)) {
    is_late_ = true;
    return -1;
  }
  ssize_t count = 0;
  do {
    count = ::recv(socket_, buffer_.data(), buffer_.size(), 0);
  } while (count < 0 && errno == EINTR);
  begin_ = 0;
  end_ = count > 0 ? static_cast<size_t>(count) : 0;
  return count;
}

ssize_t HttpConnection::write(const char* data, size_t size) {
  if (!wait_for(POLLOUT, Clock::now() + kWriteTime)) return -1;
  ssize_t count = 0;
  do {
    count = ::send(socket_, data, size, MSG_NOSIGNAL);
  } while (count < 0 && errno == EINTR);
  return count;
}

void HttpConnection::get_remote_ip_and_port(std::string& ip, int& port) const {
  write_address(socket_, ::getpeername, ip, port);
}

void HttpConnection::get_local_ip_and_port(std::string& ip, int& port) const {
  write_address(socket_, ::getsockname, ip, port);
}

}  // namespace molora
