#include "serve/http_api.h"

#include <arpa/inet.h>

#include <algorithm>
#include <ctime>
#include <functional>

#include <fmt/format.h>
#include <spdlog/spdlog.h>

#include "base/check.h"
#include "base/error.h"
#include "io/secret.h"
#include "serve/completion_json.h"
#include "serve/http_listener.h"
#include "serve/serve_metrics.h"

namespace molora {

namespace {

using httplib::Request;
using httplib::Response;
using Clock = Scheduler::Clock;

constexpr char kChatPath[] = "/v1/chat/completions";
constexpr char kTextPath[] = "/v1/completions";
constexpr char kModelsPath[] = "/v1/models";
constexpr char kHealthPath[] = "/health";
constexpr char kMetricsPath[] = "/metrics";

constexpr char kOwnFault[] = "a fault of the server, which its log tells";
constexpr char kJson[] = "application/json";

// How soon it is noticed that the client of an answer under way has gone.
constexpr std::chrono::milliseconds kWatchSlice{100};

// The status that nobody reads: the client has gone.
constexpr int kClientGone = 499;

bool starts_with_models(const std::string& path) {
  return path.starts_with(std::string(kModelsPath) + "/");
}

// What may be done with a path; "" when there is no such path.
std::string method_of(const std::string& path) {
  if (path == kChatPath || path == kTextPath) return "POST";
  const bool is_read = path == kModelsPath || path == kHealthPath || path == kMetricsPath ||
                       starts_with_models(path);
  return is_read ? "GET" : "";
}

void check_path(const Request& request) {
  const std::string method = method_of(request.path);
  if (method.empty()) {
    throw RequestError(404,
                       fmt::format("there is no {}; {}, {}, {}, {} and {} are served", request.path,
                                   kChatPath, kTextPath, kModelsPath, kHealthPath, kMetricsPath),
                       {"", "unknown_path"});
  }
  const bool is_head_of_get = method == "GET" && request.method == "HEAD";
  if (request.method != method && !is_head_of_get) {
    throw RequestError(405,
                       fmt::format("{} takes {}, not {}", request.path, method, request.method),
                       {"", "method_not_allowed"});
  }
}

void check_token(const Request& request, const std::string& token) {
  if (token.empty() || request.path == kHealthPath) return;
  constexpr std::string_view kScheme = "Bearer ";
  const std::string given = request.get_header_value("Authorization");
  if (given.starts_with(kScheme) &&
      equal_secrets(std::string_view(given).substr(kScheme.size()), token)) {
    return;
  }
  throw RequestError(401,
                     given.empty() ? "a token is needed: send the header 'Authorization: Bearer "
                                     "TOKEN' (in the openai client: api_key)"
                                   : "the token in the header Authorization is not the right one",
                     {"", "invalid_api_key"});
}

// The media type is asked for because a browser sends no JSON to a foreign address without asking
// first: no page on the web can use a server that listens on loopback.
void check_body_head(const Request& request, int64_t max_bytes) {
  if (request.method != "POST") return;
  const std::string type = request.get_header_value("Content-Type");
  if (!type.starts_with(kJson)) {
    throw RequestError(415, fmt::format("Content-Type is '{}', expected {}", type, kJson),
                       {"", "unsupported_media_type"});
  }
  const bool has_length = request.has_header("Content-Length");
  const std::string encoding = request.get_header_value("Transfer-Encoding");
  if (has_length == (encoding == "chunked") || !(encoding.empty() || encoding == "chunked")) {
    throw RequestError(411, "expected either a Content-Length or 'Transfer-Encoding: chunked'",
                       {"", "length_required"});
  }
  if (has_length &&
      request.get_header_value<uint64_t>("Content-Length") > static_cast<uint64_t>(max_bytes)) {
    throw RequestError(
        413,
        fmt::format("the body has {} bytes, this server takes {} (--max-request-bytes)",
                    request.get_header_value("Content-Length"), max_bytes),
        {"", "request_too_large"});
  }
}

std::string event(const std::string& json) { return fmt::format("data: {}\n\n", json); }

// The status of a stream has been sent: what goes wrong after that is its last event.
void end_with_error(const RequestError& error, httplib::DataSink& sink) {
  const std::string last = event(error_json(error));
  (void)sink.write(last.data(), last.size());
  sink.done();
}

}  // namespace

bool is_loopback(const std::string& host) {
  if (host == "localhost") return true;
  in_addr v4{};
  if (::inet_pton(AF_INET, host.c_str(), &v4) == 1) return (ntohl(v4.s_addr) >> 24) == 127;
  in6_addr v6{};
  return ::inet_pton(AF_INET6, host.c_str(), &v6) == 1 && IN6_IS_ADDR_LOOPBACK(&v6);
}

void check_address(const HttpApiOptions& options) {
  if (!options.token.empty() || is_loopback(options.host)) return;
  throw ConfigError(
      fmt::format("others could use a server on {}: give it a token (--token-file FILE), or listen "
                  "on 127.0.0.1",
                  options.host));
}

class HttpApi::Routes {
 public:
  Routes(const HttpApiOptions& options, const std::vector<ServedModel>& models,
         Scheduler& scheduler);

  HttpListener& listener() { return listener_; }
  const HttpApiOptions& options() const { return options_; }

 private:
  // A request that is being answered.
  struct Answer {
    Answer(const CompletionRequest& request_in, const Routes& routes);
    CompletionRequest request;
    CompletionHead head;
    Clock::time_point deadline;
    Completion completion;
  };

  void set_handlers();
  void refuse(const Request& request, Response& response, const RequestError& error);
  void guarded(const Request& request, Response& response, const std::function<void()>& work);
  void complete(CompletionKind kind, const httplib::ContentReader& reader, Response& response);
  std::string read_body(const httplib::ContentReader& reader);
  std::string whole_answer(Answer& answer);
  void start_stream(std::shared_ptr<Answer> answer, Response& response);
  bool stream(Answer& answer, httplib::DataSink& sink);
  void send_pieces(Answer& answer, httplib::DataSink& sink);
  std::vector<CompletionPiece> next_pieces(Answer& answer);
  void tell_health(Response& response) const;

  const HttpApiOptions options_;
  const std::vector<ServedModel>& models_;
  Scheduler& scheduler_;
  const int64_t started_at_ = std::time(nullptr);
  ServeMetrics metrics_;
  HttpListener listener_;  // the last: its threads use the others
};

HttpApi::Routes::Routes(const HttpApiOptions& options, const std::vector<ServedModel>& models,
                        Scheduler& scheduler)
    : options_(options),
      models_(models),
      scheduler_(scheduler),
      listener_(options.num_threads, {.body = options.body_time}) {
  set_handlers();
}

void HttpApi::Routes::set_handlers() {
  using Handled = httplib::Server::HandlerResponse;
  listener_.set_pre_routing_handler([this](const Request& request, Response& response) {
    guarded(request, response, [&] {
      check_token(request, options_.token);
      check_path(request);
      check_body_head(request, options_.max_request_bytes);
    });
    return response.status == -1 ? Handled::Unhandled : Handled::Handled;
  });
  const std::pair<const char*, CompletionKind> completions[] = {{kChatPath, CompletionKind::kChat},
                                                                {kTextPath, CompletionKind::kText}};
  for (const auto& [path, kind_of_path] : completions) {
    listener_.Post(path, [this, kind = kind_of_path](const Request& request, Response& response,
                                                     const httplib::ContentReader& reader) {
      guarded(request, response, [&] { complete(kind, reader, response); });
    });
  }
  listener_.Get(kModelsPath, [this](const Request&, Response& response) {
    response.set_content(models_json(models_, started_at_), kJson);
  });
  listener_.Get(std::string(kModelsPath) + "/(.+)",
                [this](const Request& request, Response& response) {
                  guarded(request, response, [&] {
                    const ServedModel& model = models_[find_model(models_, request.matches[1])];
                    response.set_content(model_json(model, started_at_), kJson);
                  });
                });
  listener_.Get(kHealthPath, [this](const Request&, Response& response) { tell_health(response); });
  listener_.Get(kMetricsPath, [this](const Request&, Response& response) {
    response.set_content(metrics_.text(scheduler_.counts()), "text/plain; version=0.0.4");
  });
  // What the library refuses by itself has no body.
  const httplib::Server::HandlerWithResponse on_error = [this](const Request& request,
                                                               Response& response) {
    if (!response.body.empty()) return Handled::Unhandled;
    const int status = listener_.connection().is_late() ? 408 : response.status;
    refuse(request, response, RequestError(status, "this is no HTTP request that can be served"));
    return Handled::Handled;
  };
  listener_.set_error_handler(on_error);
  // Before the answer is sent, so that a client that has it finds it counted.
  listener_.set_post_routing_handler([this](const Request& request, Response& response) {
    metrics_.count_answer(response.status);
    spdlog::debug("{} {} {}: {}", request.remote_addr, request.method, request.path,
                  response.status);
  });
}

// What is left of the request may be anything: the connection ends with the answer.
void HttpApi::Routes::refuse(const Request& request, Response& response,
                             const RequestError& error) {
  response.status = error.status();
  response.set_content(error_json(error), kJson);
  response.set_header("Connection", "close");
  listener_.connection().close_after_response();
  if (error.status() == 401) response.set_header("WWW-Authenticate", "Bearer");
  if (error.status() == 405) response.set_header("Allow", method_of(request.path));
  if (error.status() == 429 || error.status() == 503) response.set_header("Retry-After", "1");
}

void HttpApi::Routes::guarded(const Request& request, Response& response,
                              const std::function<void()>& work) {
  try {
    work();
  } catch (const RequestError& error) {
    refuse(request, response, error);
  } catch (const std::exception& error) {
    spdlog::error("{} {}: {}", request.method, request.path, error.what());
    refuse(request, response, RequestError(500, kOwnFault));
  }
}

HttpApi::Routes::Answer::Answer(const CompletionRequest& request_in, const Routes& routes)
    : request(request_in),
      head{request.kind, new_completion_id(request.kind), std::time(nullptr), request.model},
      deadline(Clock::now() + routes.options_.answer_time),
      completion(request, routes.models_, routes.options_.limits.max_new_tokens,
                 routes.scheduler_) {}

void HttpApi::Routes::complete(CompletionKind kind, const httplib::ContentReader& reader,
                               Response& response) {
  const CompletionRequest request =
      parse_completion_request(kind, read_body(reader), options_.limits);
  // Shared because the library keeps what it calls in a std::function, which copies what it holds.
  auto answer = std::make_shared<Answer>(request, *this);
  if (request.is_streamed) {
    start_stream(std::move(answer), response);
  } else {
    response.set_content(whole_answer(*answer), kJson);
  }
}

std::string HttpApi::Routes::read_body(const httplib::ContentReader& reader) {
  std::string body;
  bool is_too_large = false;
  const bool is_whole = reader([&](const char* data, size_t size) {
    is_too_large = body.size() + size > static_cast<size_t>(options_.max_request_bytes);
    if (!is_too_large) body.append(data, size);
    return !is_too_large;
  });
  if (is_too_large) {
    throw RequestError(413,
                       fmt::format("the body has more than {} bytes (--max-request-bytes)",
                                   options_.max_request_bytes),
                       {"", "request_too_large"});
  }
  if (is_whole) return body;
  if (listener_.connection().is_late()) {
    throw RequestError(
        408, fmt::format("the body has not arrived within {} s", options_.body_time.count() / 1000),
        {"", "request_timeout"});
  }
  throw RequestError(400, "the body ends before its length, or is not coded as its head says",
                     {"", "incomplete_body"});
}

// The pieces that have come; some may be empty, or there may be none yet.
// Throws: RequestError when the time is over or the client has gone.
std::vector<CompletionPiece> HttpApi::Routes::next_pieces(Answer& answer) {
  const Clock::time_point now = Clock::now();
  if (now >= answer.deadline) {
    throw RequestError(504,
                       fmt::format("the answer was not complete after {} s (--timeout)",
                                   options_.answer_time.count() / 1000),
                       {"", "timeout"});
  }
  if (!listener_.connection().is_open()) throw RequestError(kClientGone, "the client has gone");
  return answer.completion.next(std::min(answer.deadline, now + kWatchSlice));
}

std::string HttpApi::Routes::whole_answer(Answer& answer) {
  std::vector<FinishedChoice> choices(static_cast<size_t>(answer.request.num_choices));
  while (!answer.completion.is_done()) {
    for (const CompletionPiece& piece : next_pieces(answer)) {
      choices[piece.choice].text += piece.text;
      if (piece.finish_reason != nullptr) choices[piece.choice].finish_reason = piece.finish_reason;
    }
  }
  metrics_.count_usage(answer.completion.usage());
  return completion_json(answer.head, choices, answer.completion.usage());
}

void HttpApi::Routes::start_stream(std::shared_ptr<Answer> answer, Response& response) {
  response.set_header("Cache-Control", "no-store");
  response.set_chunked_content_provider(
      "text/event-stream", [this, answer = std::move(answer)](size_t, httplib::DataSink& sink) {
        return stream(*answer, sink);
      });
}

// The whole stream in one call: the library cuts off what needs another one when it stops.
// Returns whether the connection may be used again.
bool HttpApi::Routes::stream(Answer& answer, httplib::DataSink& sink) {
  try {
    send_pieces(answer, sink);
    metrics_.count_usage(answer.completion.usage());
    sink.done();
    return true;
  } catch (const RequestError& error) {
    metrics_.count_broken_stream();
    if (error.status() != kClientGone) end_with_error(error, sink);
  } catch (const std::exception& error) {
    metrics_.count_broken_stream();
    spdlog::error("a stream of {}: {}", answer.request.model, error.what());
    end_with_error(RequestError(500, kOwnFault), sink);
  }
  return false;
}

void HttpApi::Routes::send_pieces(Answer& answer, httplib::DataSink& sink) {
  const UsageChunk usage =
      answer.request.has_usage_chunk ? UsageChunk::kPromised : UsageChunk::kNone;
  const auto send = [&sink](const std::string& json) {
    const std::string text = event(json);
    if (!sink.write(text.data(), text.size())) {
      throw RequestError(kClientGone, "the client has gone");
    }
  };
  if (answer.request.kind == CompletionKind::kChat) {
    for (int64_t i = 0; i < answer.request.num_choices; ++i) {
      send(first_chunk_json(answer.head, static_cast<size_t>(i), usage));
    }
  }
  while (!answer.completion.is_done()) {
    for (const CompletionPiece& piece : next_pieces(answer)) {
      if (piece.text.empty() && piece.finish_reason == nullptr) continue;
      send(piece_chunk_json(answer.head, piece, usage));
    }
  }
  if (answer.request.has_usage_chunk) {
    send(usage_chunk_json(answer.head, answer.completion.usage()));
  }
  send("[DONE]");
}

void HttpApi::Routes::tell_health(Response& response) const {
  const bool is_stopping = scheduler_.is_closed();
  response.status = is_stopping ? 503 : 200;
  response.set_content(is_stopping ? R"({"status":"stopping"})" : R"({"status":"ok"})", kJson);
}

HttpApi::HttpApi(const HttpApiOptions& options, const std::vector<ServedModel>& models,
                 Scheduler& scheduler) {
  check_address(options);
  routes_ = std::make_unique<Routes>(options, models, scheduler);
}

HttpApi::~HttpApi() = default;

int HttpApi::start() {
  return routes_->listener().start(routes_->options().host, routes_->options().port);
}

void HttpApi::finish() { routes_->listener().finish(); }

}  // namespace molora
