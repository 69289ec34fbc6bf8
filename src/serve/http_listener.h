// The library's HTTP server with connections of our own (serve/http_connection.h).
//
// Each connection has a thread of a fixed number; more connections than threads wait to be
// accepted. What the library does otherwise and why that will not do: its list of connections that
// wait holds 5; two servers may share a port unnoticed; an idle connection wakes 90 times a second;
// nobody hears of a client that has gone until something is written.
#pragma once

#include <atomic>
#include <chrono>
#include <condition_variable>
#include <cstdint>
#include <map>
#include <mutex>
#include <string>
#include <thread>

#include "serve/http_connection.h"

namespace molora {

class HttpListener : public httplib::Server {
 public:
  struct Times {
    std::chrono::milliseconds idle{5'000};   // between two requests, and before the first
    std::chrono::milliseconds head{10'000};  // for the head of a request to arrive
    std::chrono::milliseconds body{30'000};  // for its body
  };
  HttpListener(size_t num_threads, const Times& times);
  // Stops.
  ~HttpListener() override;
  HttpListener(const HttpListener&) = delete;
  HttpListener& operator=(const HttpListener&) = delete;
  HttpListener(HttpListener&&) = delete;
  HttpListener& operator=(HttpListener&&) = delete;

  // Binds to `port` (0: any free one) and accepts connections from here on, on a thread of its own
  // that takes no signals. Returns the port. REQUIRES: handlers are set; called once.
  // Throws: ConfigError when the address cannot be had.
  int start(const std::string& host, int port);

  // Begins no other request, and returns when those that have begun are answered.
  void finish();

  // That of the request which the calling thread is answering. REQUIRES: there is one.
  HttpConnection& connection();

 private:
  class Registered;

  bool process_and_close_socket(int socket) override;
  bool serve_request(HttpConnection& connection);
  bool begin_request();
  void end_request();

  const Times times_;
  std::atomic<bool> is_stopping_ = false;
  std::mutex mutex_;
  std::map<std::thread::id, HttpConnection*> connections_;
  int64_t num_under_way_ = 0;  // requests
  std::condition_variable none_under_way_;
  std::thread accepting_;
};

}  // namespace molora
