#include "serve/http_listener.h"

#include <sys/socket.h>

#include <cerrno>
#include <cstring>

#include <fmt/format.h>

#include "base/check.h"
#include "base/no_signals.h"

namespace molora {

namespace {

constexpr int kBacklog = 1024;

}  // namespace

// Says for the life of a connection which thread serves it.
class HttpListener::Registered {
 public:
  Registered(HttpListener& listener, HttpConnection& connection) : listener_(listener) {
    const std::lock_guard lock(listener_.mutex_);
    listener_.connections_[std::this_thread::get_id()] = &connection;
  }
  ~Registered() {
    const std::lock_guard lock(listener_.mutex_);
    listener_.connections_.erase(std::this_thread::get_id());
  }
  Registered(const Registered&) = delete;
  Registered& operator=(const Registered&) = delete;
  Registered(Registered&&) = delete;
  Registered& operator=(Registered&&) = delete;

 private:
  HttpListener& listener_;
};

HttpListener::HttpListener(size_t num_threads, const Times& times) : times_(times) {
  new_task_queue = [num_threads] { return new httplib::ThreadPool(num_threads); };
  // For the Keep-Alive header alone; what is done is in serve_request().
  set_keep_alive_timeout(std::chrono::duration_cast<std::chrono::seconds>(times.idle).count());
  set_keep_alive_max_count(1000);
  set_socket_options([](socket_t socket) {
    const int on = 1;
    (void)::setsockopt(socket, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
  });
}

HttpListener::~HttpListener() { finish(); }

int HttpListener::start(const std::string& host, int port) {
  errno = 0;
  const bool is_any = port == 0;
  const int bound = is_any ? bind_to_any_port(host) : bind_to_port(host, port) ? port : -1;
  if (bound <= 0) {
    throw ConfigError(
        fmt::format("cannot listen on {} port {}: {}; choose another --port or --host", host, port,
                    errno == 0 ? "no such address here" : std::strerror(errno)));
  }
  // Again, with room for more connections that wait to be accepted.
  if (::listen(svr_sock_, kBacklog) != 0) {
    throw InternalError(fmt::format("listen on {}:{}: {}", host, bound, std::strerror(errno)));
  }
  const NoSignals no_signals;
  accepting_ = std::thread([this] { (void)listen_after_bind(); });
  // stop() has no effect before.
  while (!is_running()) std::this_thread::yield();
  return bound;
}

// The library cuts off a stream that it has not begun to write when it stops: not before all are
// written.
void HttpListener::finish() {
  if (!accepting_.joinable()) return;
  {
    std::unique_lock lock(mutex_);
    is_stopping_ = true;
    none_under_way_.wait(lock, [this] { return num_under_way_ == 0; });
  }
  stop();
  accepting_.join();
}

bool HttpListener::begin_request() {
  const std::lock_guard lock(mutex_);
  if (!is_stopping_) ++num_under_way_;
  return !is_stopping_;
}

void HttpListener::end_request() {
  const std::lock_guard lock(mutex_);
  --num_under_way_;
  none_under_way_.notify_all();
}

HttpConnection& HttpListener::connection() {
  const std::lock_guard lock(mutex_);
  const auto found = connections_.find(std::this_thread::get_id());
  MOLORA_CHECK(found != connections_.end(), "this thread answers no request");
  return *found->second;
}

bool HttpListener::process_and_close_socket(int socket) {
  HttpConnection connection(socket);
  const Registered registered(*this, connection);
  bool goes_on = true;
  while (goes_on && connection.await_request(times_.idle, is_stopping_) && begin_request()) {
    goes_on = serve_request(connection);
    end_request();
  }
  if (connection.is_closing()) connection.linger();
  return true;
}

// Whether another request may follow.
bool HttpListener::serve_request(HttpConnection& connection) {
  connection.expect_head(HttpConnection::Clock::now() + times_.head);
  bool is_last = false;
  const bool is_answered =
      process_request(connection, is_stopping_, is_last, [&](httplib::Request& request) {
        connection.expect_body(HttpConnection::Clock::now() + times_.body);
        request.ranges.clear();  // nothing here is served in parts
      });
  return is_answered && !is_last && !connection.is_closing();
}

}  // namespace molora
