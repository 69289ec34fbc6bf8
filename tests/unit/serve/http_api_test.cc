// The endpoint over real sockets, with a thread in the model's place that answers what it is told.
#include "serve/http_api.h"

#include <arpa/inet.h>
#include <httplib.h>
#include <sys/socket.h>
#include <unistd.h>

#include <atomic>
#include <map>
#include <thread>

#include <fmt/format.h>
#include <gtest/gtest.h>
#include <nlohmann/json.hpp>

#include "base/error.h"
#include "support/expect_throw.h"
#include "support/tiny_tokenizer.h"

namespace molora {
namespace {

using nlohmann::json;
using std::chrono::milliseconds;
using Clock = Scheduler::Clock;

// Goes on with "abcabc.." as long as `is_answering`.
class FakeModel {
 public:
  explicit FakeModel(Scheduler& scheduler) : scheduler_(scheduler), thread_([this] { run(); }) {}
  ~FakeModel() {
    is_ending_ = true;
    thread_.join();
  }
  FakeModel(const FakeModel&) = delete;
  FakeModel& operator=(const FakeModel&) = delete;
  FakeModel(FakeModel&&) = delete;
  FakeModel& operator=(FakeModel&&) = delete;

  std::atomic<bool> is_answering = true;

 private:
  struct Sequence {
    int64_t num_new = 0;
    int64_t max_new = 0;
  };

  void run() {
    while (!is_ending_) {
      const auto plan = scheduler_.next_step(Clock::now() + milliseconds(2));
      if (!plan) continue;
      for (const uint64_t key : plan->removed) running_.erase(key);
      for (const NewSequence& sequence : plan->added) {
        running_[sequence.key] = {0, sequence.options.max_new_tokens};
      }
      std::vector<NewToken> tokens;
      for (auto& [key, sequence] : running_) {
        if (!is_answering) break;
        NewToken next{key, static_cast<int32_t>('a' + sequence.num_new % 3), std::nullopt};
        if (++sequence.num_new == sequence.max_new) next.end = GenerationEnd::kMaxNewTokens;
        tokens.push_back(next);
      }
      for (const NewToken& next : tokens) {
        if (next.end) running_.erase(next.key);
      }
      scheduler_.deliver(plan->model, tokens);
      if (!is_answering) std::this_thread::yield();
    }
  }

  Scheduler& scheduler_;
  std::map<uint64_t, Sequence> running_;
  std::atomic<bool> is_ending_ = false;
  std::thread thread_;
};

class HttpApiTest : public ::testing::Test {
 protected:
  HttpApiTest() {
    json document = testing::byte_level_json({});
    for (const char* name : {"<|im_start|>", "<|im_end|>"}) {
      document["added_tokens"].push_back(testing::added_token(document, name, {{"special", true}}));
    }
    tokenizer_ = testing::parse_tokenizer(document);
    chat_template_.emplace(*tokenizer_, DataConfig::chatml, "", DataConfig::answers);
    models_ = {{"base", tokenizer_.get(), &*chat_template_, {257}, 4000}};
    options_.port = 0;
    options_.limits = {.max_new_tokens = 2000, .max_choices = 4};
    options_.num_threads = 8;
  }
  ~HttpApiTest() override {
    if (scheduler_) scheduler_->fail_all(RequestError(503, "over"));
  }

  void start(const WorkLimits& limits = {}) {
    scheduler_.emplace(1, limits);
    model_.emplace(*scheduler_);
    api_.emplace(options_, models_, *scheduler_);
    port_ = api_->start();
  }

  httplib::Client client() {
    httplib::Client client("127.0.0.1", port_);
    client.set_read_timeout(30);
    if (!options_.token.empty()) client.set_bearer_token_auth(options_.token);
    return client;
  }
  static json request(int64_t max_tokens) {
    return {{"model", "base"},
            {"max_tokens", max_tokens},
            {"messages", {{{"role", "user"}, {"content", "Hi"}}}}};
  }
  httplib::Result post(const std::string& body, const char* type = "application/json",
                       const char* path = "/v1/chat/completions") {
    return client().Post(path, body, type);
  }

  // Every refusal has OpenAI's form. Returns its code.
  static std::string code_of(const httplib::Result& result) {
    if (!result) return "no answer: " + to_string(result.error());
    const json error = json::parse(result->body).at("error");
    EXPECT_TRUE(error.at("message").is_string() && error.at("type").is_string());
    return error.at("code").is_string() ? error.at("code").get<std::string>() : "";
  }

  int connect() const {
    const int socket = ::socket(AF_INET, SOCK_STREAM, 0);
    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_port = htons(static_cast<uint16_t>(port_));
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    EXPECT_EQ(::connect(socket, reinterpret_cast<sockaddr*>(&address), sizeof address), 0);
    return socket;
  }
  // Sends bytes as they are; returns all that comes back until the server ends.
  std::string raw(const std::string& bytes) const {
    const int socket = connect();
    EXPECT_EQ(::send(socket, bytes.data(), bytes.size(), MSG_NOSIGNAL), std::ssize(bytes));
    std::string answer;
    char part[4096];
    for (ssize_t count = 0; (count = ::recv(socket, part, sizeof part, 0)) > 0;) {
      answer.append(part, static_cast<size_t>(count));
    }
    ::close(socket);
    return answer;
  }

  bool becomes(const std::function<bool(const WorkCounts&)>& is_so) const {
    const auto until = Clock::now() + std::chrono::seconds(20);
    while (!is_so(scheduler_->counts())) {
      if (Clock::now() > until) return false;
      std::this_thread::yield();
    }
    return true;
  }

  HttpApiOptions options_;
  std::unique_ptr<Tokenizer> tokenizer_;
  std::optional<ChatTemplate> chat_template_;
  std::vector<ServedModel> models_;
  std::optional<Scheduler> scheduler_;
  std::optional<FakeModel> model_;
  std::optional<HttpApi> api_;
  int port_ = 0;
};

TEST_F(HttpApiTest, AnswersWholeAndStreamed) {
  start();
  const auto whole = post(request(5).dump());
  ASSERT_TRUE(whole);
  EXPECT_EQ(whole->status, 200);
  EXPECT_EQ(json::parse(whole->body)["choices"][0]["message"]["content"], "abcab");
  json streamed = request(5);
  streamed["stream"] = true;
  const auto stream = post(streamed.dump());
  ASSERT_TRUE(stream);
  EXPECT_EQ(stream->get_header_value("Content-Type"), "text/event-stream");
  std::string text;
  std::string last;
  std::istringstream lines(stream->body);
  for (std::string line; std::getline(lines, line);) {
    if (line.empty()) continue;
    ASSERT_EQ(line.substr(0, 6), "data: ");
    last = line.substr(6);
    if (last == "[DONE]") break;
    text += json::parse(last)["choices"][0]["delta"].value("content", "");
  }
  EXPECT_EQ(text, "abcab");
  EXPECT_EQ(last, "[DONE]");
}

TEST_F(HttpApiTest, OneConnectionServesManyRequests) {
  start();
  httplib::Client keeping = client();
  keeping.set_keep_alive(true);
  for (int i = 1; i < 20; ++i) {
    const auto result = keeping.Post("/v1/chat/completions", request(i).dump(), "application/json");
    ASSERT_TRUE(result);
    EXPECT_EQ(json::parse(result->body)["usage"]["completion_tokens"], i);
  }
}

TEST_F(HttpApiTest, ListsModelsHealthAndCounters) {
  start();
  (void)post(request(3).dump());
  EXPECT_EQ(json::parse(client().Get("/v1/models")->body)["data"][0]["id"], "base");
  EXPECT_EQ(json::parse(client().Get("/v1/models/base")->body)["object"], "model");
  EXPECT_EQ(client().Get("/health")->body, R"({"status":"ok"})");
  const std::string metrics = client().Get("/metrics")->body;
  for (const char* line : {"molora_http_answers_total{status=\"200\"} 4\n",
                           "molora_completion_tokens_total 3\n", "molora_running_sequences 0\n"}) {
    EXPECT_NE(metrics.find(line), std::string::npos) << line << metrics;
  }
}

TEST_F(HttpApiTest, WhatIsNotThereIs404AndWhatIsNotDoneThere405) {
  start();
  const auto path = client().Get("/v1/engines");
  EXPECT_EQ(path->status, 404);
  EXPECT_EQ(code_of(path), "unknown_path");
  EXPECT_EQ(client().Get("/v1/models/nope")->status, 404);
  json other = request(1);
  other["model"] = "nope";
  EXPECT_EQ(code_of(post(other.dump())), "model_not_found");
  const auto method = client().Get("/v1/chat/completions");
  EXPECT_EQ(method->status, 405);
  EXPECT_EQ(method->get_header_value("Allow"), "POST");
  EXPECT_EQ(client().Delete("/v1/models/base")->status, 405);
}

TEST_F(HttpApiTest, AskForTheToken) {
  options_.token = "s3cret";
  start();
  EXPECT_EQ(post(request(1).dump())->status, 200);
  httplib::Client without("127.0.0.1", port_);
  const auto result = without.Post("/v1/chat/completions", request(1).dump(), "application/json");
  ASSERT_TRUE(result);
  EXPECT_EQ(result->status, 401);
  EXPECT_EQ(result->get_header_value("WWW-Authenticate"), "Bearer");
  EXPECT_EQ(code_of(result), "invalid_api_key");
  for (const char* wrong : {"s3cre", "s3cret2", "", "S3CRET"}) {
    without.set_bearer_token_auth(wrong);
    EXPECT_EQ(without.Get("/v1/models")->status, 401) << wrong;
    EXPECT_EQ(without.Get("/metrics")->status, 401) << wrong;
    EXPECT_EQ(without.Get("/health")->status, 200);
  }
}

TEST_F(HttpApiTest, OthersReachItWithATokenOnly) {
  scheduler_.emplace(1, WorkLimits{});
  for (const char* host :
       {"0.0.0.0", "192.168.1.1", "::", "example.org", "128.0.0.1", "1270.0.0.1"}) {
    options_.host = host;
    EXPECT_THROW_WITH(HttpApi(options_, models_, *scheduler_), ConfigError, host, "--token-file");
  }
  for (const char* host : {"127.0.0.1", "127.1.2.3", "::1", "localhost"}) {
    EXPECT_TRUE(is_loopback(host)) << host;
  }
  options_.host = "0.0.0.0";
  options_.token = "x";
  EXPECT_NO_THROW(HttpApi(options_, models_, *scheduler_));
}

TEST_F(HttpApiTest, APortThatIsTakenIsRefused) {
  start();
  options_.port = port_;
  HttpApi second(options_, models_, *scheduler_);
  EXPECT_THROW_WITH((void)second.start(), ConfigError, "127.0.0.1", "Address already in use");
}

TEST_F(HttpApiTest, BodiesOfOtherTypesAndLengthsAreRefused) {
  options_.max_request_bytes = 1000;
  start();
  EXPECT_EQ(post(request(1).dump(), "text/plain")->status, 415);
  EXPECT_EQ(post("{", "application/json; charset=utf-8")->status, 400);
  const auto large = post(std::string(5'000'000, ' '));
  ASSERT_TRUE(large) << "the answer must reach a client that is still sending";
  EXPECT_EQ(large->status, 413);
  EXPECT_EQ(code_of(large), "request_too_large");
  const std::string head = "POST /v1/completions HTTP/1.1\r\nContent-Type: application/json\r\n";
  EXPECT_EQ(raw(head + "\r\n").substr(0, 12), "HTTP/1.1 411");
  const std::string chunk = "400\r\n" + std::string(0x400, ' ') + "\r\n";
  EXPECT_EQ(
      raw(head + "Transfer-Encoding: chunked\r\n\r\n" + chunk + chunk + "0\r\n\r\n").substr(0, 12),
      "HTTP/1.1 413");
  EXPECT_EQ(raw(head + "Content-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n{}").substr(0, 12),
            "HTTP/1.1 411")
      << "whose end would be anybody's guess";
  EXPECT_EQ(raw("nonsense\r\n\r\n").substr(0, 12), "HTTP/1.1 400");
}

TEST_F(HttpApiTest, ABodyThatDoesNotComeIs408) {
  options_.body_time = milliseconds(50);
  start();
  const std::string answer =
      raw("POST /v1/completions HTTP/1.1\r\nContent-Type: application/json\r\n"
          "Content-Length: 10\r\n\r\n{");
  EXPECT_EQ(answer.substr(0, 12), "HTTP/1.1 408") << answer;
}

TEST_F(HttpApiTest, AFullQueueIs429) {
  start({.max_running = 1, .max_waiting = 1});
  model_->is_answering = false;
  json two = request(1);
  two["n"] = 2;
  std::thread waiting([&] { EXPECT_EQ(post(two.dump())->status, 200); });
  EXPECT_TRUE(
      becomes([](const WorkCounts& counts) { return counts.running + counts.waiting == 2; }));
  const auto refused = post(request(1).dump());
  EXPECT_EQ(refused->status, 429);
  EXPECT_EQ(refused->get_header_value("Retry-After"), "1");
  EXPECT_EQ(code_of(refused), "queue_full");
  model_->is_answering = true;
  waiting.join();
}

TEST_F(HttpApiTest, AnAnswerThatTakesTooLongIs504AndFreesItsPlace) {
  options_.answer_time = milliseconds(50);
  start();
  model_->is_answering = false;
  const auto result = post(request(1).dump());
  EXPECT_EQ(result->status, 504);
  EXPECT_EQ(code_of(result), "timeout");
  EXPECT_TRUE(scheduler_->is_idle());
  json streamed = request(1);
  streamed["stream"] = true;
  const auto stream = post(streamed.dump());
  ASSERT_TRUE(stream);
  EXPECT_NE(stream->body.find("\"code\":\"timeout\""), std::string::npos) << stream->body;
  EXPECT_EQ(stream->body.find("[DONE]"), std::string::npos);
}

TEST_F(HttpApiTest, AClientThatGoesAwayFreesItsPlace) {
  start();
  model_->is_answering = false;
  for (const bool is_streamed : {false, true}) {
    json body = request(1000);
    body["stream"] = is_streamed;
    const std::string text = body.dump();
    const int socket = connect();
    const std::string bytes = fmt::format(
        "POST /v1/chat/completions HTTP/1.1\r\nContent-Type: application/json\r\n"
        "Content-Length: {}\r\n\r\n{}",
        text.size(), text);
    ASSERT_EQ(::send(socket, bytes.data(), bytes.size(), 0), std::ssize(bytes));
    EXPECT_TRUE(becomes([](const WorkCounts& counts) { return counts.running == 1; }));
    ::close(socket);
    EXPECT_TRUE(becomes([](const WorkCounts& counts) { return counts.running == 0; }))
        << "streamed: " << is_streamed;
  }
  EXPECT_EQ(scheduler_->counts().abandoned, 2u);
}

TEST_F(HttpApiTest, AStoppingServerEndsItsAnswersAndTakesNoOthers) {
  start();
  model_->is_answering = false;
  std::string streamed;
  std::thread client_of_stream([&] {
    json body = request(30);
    body["stream"] = true;
    const auto result = post(body.dump());
    if (result) streamed = result->body;
  });
  EXPECT_TRUE(becomes([](const WorkCounts& counts) { return counts.running == 1; }));
  scheduler_->close();
  EXPECT_EQ(client().Get("/health")->status, 503);
  const auto refused = post(request(1).dump());
  EXPECT_EQ(refused->status, 503);
  EXPECT_EQ(code_of(refused), "stopping");
  std::thread finishing([&] { api_->finish(); });
  model_->is_answering = true;
  finishing.join();
  client_of_stream.join();
  EXPECT_NE(streamed.find("[DONE]"), std::string::npos) << "the stream was cut off";
}

}  // namespace
}  // namespace molora
