// One connection of an HTTP client, as the library reads and writes it.
//
// The library has a stream of its own, but none of what is needed here: an end to the time that a
// request may take to arrive, however slowly its bytes drip; a limit on its head; and a way to see
// that a client has gone while its answer is being made. One thread.
#pragma once

#include <httplib.h>

#include <array>
#include <atomic>
#include <chrono>
#include <string>

namespace molora {

class HttpConnection final : public httplib::Stream {
 public:
  using Clock = std::chrono::steady_clock;

  // Takes the socket over.
  explicit HttpConnection(int socket);
  ~HttpConnection() override;
  HttpConnection(const HttpConnection&) = delete;
  HttpConnection& operator=(const HttpConnection&) = delete;
  HttpConnection(HttpConnection&&) = delete;
  HttpConnection& operator=(HttpConnection&&) = delete;

  // Whether a request begins to arrive before `idle` is over and before somebody stops the server.
  bool await_request(std::chrono::milliseconds idle, const std::atomic<bool>& is_stopping);
  // What is read from here on is the head of a request (of limited length), then its body.
  void expect_head(Clock::time_point by);
  void expect_body(Clock::time_point by);

  // Whether the client is still there: it has neither closed its side nor broken off.
  bool is_open() const;
  // Whether reading has failed because the time was over.
  bool is_late() const { return is_late_; }

  // No request is read after this one: what is left of it is not known to be its end.
  void close_after_response() { is_closing_ = true; }
  bool is_closing() const { return is_closing_; }
  // Ends our side and waits, not for long, until the client has read what was sent: closing at once
  // what has unread data would take the answer away from it.
  void linger();

  bool is_readable() const override;
  bool is_writable() const override;
  ssize_t read(char* data, size_t size) override;
  ssize_t write(const char* data, size_t size) override;
  void get_remote_ip_and_port(std::string& ip, int& port) const override;
  void get_local_ip_and_port(std::string& ip, int& port) const override;
  int socket() const override { return socket_; }

 private:
  enum class Part { kHead, kBody };

  bool wait_for(short events, Clock::time_point by) const;
  ssize_t fill();

  int socket_;
  Part part_ = Part::kHead;
  Clock::time_point by_;  // reading ends
  size_t head_bytes_ = 0;
  bool is_late_ = false;
  bool is_closing_ = false;
  std::array<char, 16384> buffer_{};
  size_t begin_ = 0;  // of what is in the buffer and was not given out
  size_t end_ = 0;
};

}  // namespace molora
