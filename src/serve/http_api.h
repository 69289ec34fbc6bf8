// The HTTP endpoint: OpenAI's completions, the list of models, health and counters.
//
//   POST /v1/chat/completions, /v1/completions     GET /v1/models, /v1/models/NAME
//   GET /health (needs no token), /metrics (text of Prometheus)
//
// Everything that is wrong is answered in OpenAI's form of an error: 400 the request, 401 the
// token, 404 path or model, 405 method, 408 the request comes too slowly, 411 and 413 its length,
// 415 its type, 429 too many wait, 503 stopping, 504 the answer takes too long.
#pragma once

#include <chrono>
#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "serve/completion.h"
#include "serve/scheduler.h"

namespace molora {

struct HttpApiOptions {
  std::string host = "127.0.0.1";
  int port = 8000;    // 0: any free one
  std::string token;  // "": none is asked for
  int64_t max_request_bytes = int64_t{4} << 20;
  std::chrono::milliseconds answer_time{600'000};  // from the request to the end of its answer
  std::chrono::milliseconds body_time{30'000};     // for a request's body to arrive
  RequestLimits limits;
  size_t num_threads = 64;  // connections that are served at the same time
};

// Whether only this machine can reach what listens there: 127.0.0.0/8, ::1, localhost.
bool is_loopback(const std::string& host);

// Throws: ConfigError for an address other than loopback without a token.
void check_address(const HttpApiOptions& options);

class HttpApi {
 public:
  // models, scheduler: must outlive this object. Throws: as check_address().
  HttpApi(const HttpApiOptions& options, const std::vector<ServedModel>& models,
          Scheduler& scheduler);
  // As finish().
  ~HttpApi();
  HttpApi(const HttpApi&) = delete;
  HttpApi& operator=(const HttpApi&) = delete;
  HttpApi(HttpApi&&) = delete;
  HttpApi& operator=(HttpApi&&) = delete;

  // Serves from here on, on threads of its own; returns the port. Once.
  // Throws: ConfigError when the address cannot be had.
  int start();
  // Returns when everything that has arrived is answered; nothing else is accepted. The scheduler
  // must not have work that nobody does.
  void finish();

 private:
  class Routes;
  std::unique_ptr<Routes> routes_;
};

}  // namespace molora
