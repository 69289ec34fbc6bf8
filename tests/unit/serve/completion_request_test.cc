#include "serve/completion_request.h"

#include <gtest/gtest.h>
#include <nlohmann/json.hpp>

#include "serve/request_error.h"

namespace molora {
namespace {

using nlohmann::json;

constexpr RequestLimits kLimits{.max_new_tokens = 100, .max_choices = 4};

json chat() { return {{"model", "m"}, {"messages", {{{"role", "user"}, {"content", "Hello"}}}}}; }

json text() { return {{"model", "m"}, {"prompt", "Once"}}; }

json with(json body, const std::string& field, const json& value) {
  body[field] = value;
  return body;
}

json message(const char* role, const json& content) {
  return {{"role", role}, {"content", content}};
}

CompletionRequest parse(const json& body, CompletionKind kind = CompletionKind::kChat) {
  return parse_completion_request(kind, body.dump(), kLimits);
}

// "param code: message" of the refusal, which is always a 400.
std::string refusal(const std::string& body, CompletionKind kind = CompletionKind::kChat) {
  try {
    (void)parse_completion_request(kind, body, kLimits);
  } catch (const RequestError& error) {
    EXPECT_EQ(error.status(), 400);
    return error.about().param + " " + error.about().code + ": " + error.what();
  }
  return "accepted";
}
std::string refusal(const json& body, CompletionKind kind = CompletionKind::kChat) {
  return refusal(body.dump(), kind);
}

TEST(CompletionRequest, ReadsEveryFieldThatIsObeyed) {
  json body = chat();
  body.update({{"max_tokens", 7},
               {"temperature", 0.5},
               {"top_p", 0.9},
               {"top_k", 3},
               {"seed", -2},
               {"stop", {"a", "b"}},
               {"n", 2},
               {"stream", true},
               {"stream_options", {{"include_usage", true}}}});
  const CompletionRequest request = parse(body);
  EXPECT_EQ(request.model, "m");
  EXPECT_EQ(request.turns, (std::vector<Turn>{{Role::kUser, "Hello"}}));
  EXPECT_EQ(request.max_tokens, 7);
  EXPECT_EQ(request.temperature, 0.5);
  EXPECT_EQ(request.top_p, 0.9);
  EXPECT_EQ(request.top_k, 3);
  EXPECT_EQ(request.seed, static_cast<uint64_t>(int64_t{-2}));
  EXPECT_EQ(request.stop, (std::vector<std::string>{"a", "b"}));
  EXPECT_EQ(request.num_choices, 2);
  EXPECT_TRUE(request.is_streamed);
  EXPECT_TRUE(request.has_usage_chunk);
}

TEST(CompletionRequest, DefaultsAreThoseOfOpenAI) {
  const CompletionRequest request = parse(chat());
  EXPECT_EQ(request.temperature, 1.0);
  EXPECT_EQ(request.top_p, 1.0);
  EXPECT_EQ(request.num_choices, 1);
  EXPECT_FALSE(request.max_tokens || request.seed || request.is_streamed);
  EXPECT_TRUE(request.stop.empty());
}

TEST(CompletionRequest, NullIsAsIfTheFieldWereNotThere) {
  for (const char* field : {"max_tokens", "temperature", "seed", "stop", "n", "stream", "tools",
                            "response_format", "stream_options", "logprobs"}) {
    EXPECT_EQ(refusal(with(chat(), field, nullptr)), "accepted") << field;
  }
  EXPECT_EQ(refusal(with(chat(), "model", nullptr)),
            "model missing_field: model: is missing; GET /v1/models lists them");
}

TEST(CompletionRequest, ContentMayBeAListOfTextParts) {
  const json parts = {{{"type", "text"}, {"text", "Hel"}}, {{"type", "text"}, {"text", "lo"}}};
  const auto request = parse(with(chat(), "messages", json::array({message("user", parts)})));
  EXPECT_EQ(request.turns.at(0).text, "Hello");
  const json image = {{{"type", "image_url"}, {"image_url", {{"url", "x"}}}}};
  EXPECT_EQ(refusal(with(chat(), "messages", json::array({message("user", image)}))),
            "messages[0].content[0].type unsupported_value: messages[0].content[0].type: only "
            "\"text\" is served, got \"image_url\"");
}

TEST(CompletionRequest, TakesWholeConversations) {
  const auto request = parse(with(chat(), "messages",
                                  {message("developer", "Be short."), message("user", "a"),
                                   message("assistant", "b"), message("user", "c")}));
  EXPECT_EQ(request.turns, (std::vector<Turn>{{Role::kSystem, "Be short."},
                                              {Role::kUser, "a"},
                                              {Role::kAssistant, "b"},
                                              {Role::kUser, "c"}}));
}

TEST(CompletionRequest, MessagesThatNoTemplateCanWriteAreRefused) {
  const auto of = [](const json& messages) { return refusal(with(chat(), "messages", messages)); };
  EXPECT_EQ(of(json::array()),
            "messages invalid_value: messages: expected at least one message, got none");
  EXPECT_EQ(of("hi"), "messages invalid_type: messages: expected a list, got \"hi\" (string)");
  EXPECT_EQ(of({"hi"}),
            "messages[0] invalid_type: messages[0]: expected an object, got \"hi\" (string)");
  EXPECT_EQ(of({{{"role", "user"}}}),
            "messages[0].content missing_field: messages[0].content: is missing");
  EXPECT_EQ(of(json::array({message("tool", "x")})),
            "messages[0].role invalid_value: messages[0].role: expected system, developer, user or "
            "assistant, got \"tool\"");
  EXPECT_EQ(of({message("user", "a"), message("user", "b")}),
            "messages[1].role invalid_value: messages[1].role: expected assistant, got user: after "
            "at most one system message, user and assistant take turns");
  EXPECT_EQ(of({message("user", "a"), message("assistant", "b")}),
            "messages invalid_value: messages: the last message has to be one of the user");
  EXPECT_EQ(of(json::array({message("system", "a")})),
            "messages invalid_value: messages: the last message has to be one of the user");
  json named = message("user", "a");
  named["name"] = "Bob";
  EXPECT_EQ(of(json::array({named})),
            "messages[0].name unsupported_parameter: messages[0].name: is not served; role and "
            "content are");
}

TEST(CompletionRequest, WrongTypesAndRangesAreNamed) {
  const auto of = [](const char* field, const json& value) {
    return refusal(with(chat(), field, value));
  };
  EXPECT_EQ(of("temperature", "hot"),
            "temperature invalid_type: temperature: expected a number, got \"hot\" (string)");
  EXPECT_EQ(of("temperature", 2.5),
            "temperature invalid_value: temperature: expected 0 to 2, got 2.5");
  EXPECT_EQ(of("temperature", -1),
            "temperature invalid_value: temperature: expected 0 to 2, got -1");
  EXPECT_EQ(of("top_p", 1.01), "top_p invalid_value: top_p: expected 0 to 1, got 1.01");
  EXPECT_EQ(of("max_tokens", 0),
            "max_tokens invalid_value: max_tokens: expected 1 to 9223372036854775807, got 0");
  EXPECT_EQ(of("max_tokens", 1.5),
            "max_tokens invalid_type: max_tokens: expected a whole number, got 1.5 (number)");
  EXPECT_EQ(of("max_tokens", 101),
            "max_tokens invalid_value: max_tokens: this server gives at most 100 tokens an answer, "
            "101 were asked for");
  EXPECT_EQ(of("n", 5), "n invalid_value: n: expected 1 to 4, got 5");
  EXPECT_EQ(of("seed", uint64_t{1} << 63),
            "seed invalid_value: seed: expected at most 9223372036854775807, got "
            "9223372036854775808");
  EXPECT_EQ(of("stream", 1), "stream invalid_type: stream: expected true or false, got 1 (number)");
  EXPECT_EQ(of("stop", ""),
            "stop invalid_value: stop: expected strings of 1 to 1024 bytes, got one of 0");
  EXPECT_EQ(of("stop", {1}),
            "stop invalid_type: stop: expected a string or a list of strings, got [1] (array)");
  EXPECT_EQ(of("stop", std::vector<std::string>(17, "x")),
            "stop invalid_value: stop: expected at most 16 strings, got 17");
  EXPECT_EQ(of("model", 3), "model invalid_type: model: expected a string, got 3 (number)");
}

TEST(CompletionRequest, BothNamesOfMaxTokensMayAgreeButNotDiffer) {
  json body = with(chat(), "max_completion_tokens", 5.0);
  EXPECT_EQ(parse(body).max_tokens, 5);
  EXPECT_EQ(parse(with(body, "max_tokens", 5)).max_tokens, 5);
  EXPECT_EQ(
      refusal(with(body, "max_tokens", 6)),
      "max_tokens invalid_value: max_tokens: max_tokens and max_completion_tokens differ; one "
      "of them is enough");
}

// field, a value that would change the answer, one under which nothing changes (null: none)
const std::vector<std::tuple<const char*, json, json>> kUnserved = {
    {"tools", {{{"type", "function"}}}, json::array()},
    {"tool_choice", "required", "none"},
    {"functions", {{{"name", "f"}}}, json::array()},
    {"function_call", "auto", "none"},
    {"response_format", {{"type", "json_object"}}, {{"type", "text"}}},
    {"logit_bias", {{"5", -100}}, json::object()},
    {"logprobs", true, false},
    {"top_logprobs", 3, 0},
    {"frequency_penalty", 0.5, 0.0},
    {"presence_penalty", -0.5, 0},
    {"modalities", {"text", "audio"}, {"text"}},
    {"audio", {{"voice", "x"}}, nullptr},
    {"prediction", {{"type", "content"}}, nullptr},
    {"reasoning_effort", "high", "none"},
    {"store", true, false},
    {"web_search_options", json::object(), nullptr}};

TEST(CompletionRequest, FieldsThatAreNotServedAreRefusedUnlessTheyChangeNothing) {
  for (const auto& [field, value, neutral] : kUnserved) {
    const std::string got = refusal(with(chat(), field, value));
    EXPECT_TRUE(got.starts_with(std::string(field) + " unsupported_parameter: ")) << got;
    EXPECT_EQ(refusal(with(chat(), field, neutral)), "accepted") << field;
  }
  EXPECT_EQ(
      refusal(with(chat(), "logprobs", true)),
      "logprobs unsupported_parameter: logprobs: is not served (true was asked for); leave it "
      "out or give false");
}

TEST(CompletionRequest, UnknownFieldsAreRefusedWithTheNearestName) {
  EXPECT_EQ(refusal(with(chat(), "temprature", 0)),
            "temprature unknown_parameter: temprature: there is no such field; did you mean "
            "temperature?");
  EXPECT_EQ(refusal(with(chat(), "xyzzyxyzzy", 0)),
            "xyzzyxyzzy unknown_parameter: xyzzyxyzzy: there is no such field");
}

TEST(CompletionRequest, WhatSaysNothingOfTheAnswerIsTaken) {
  for (const char* field : {"user", "metadata", "service_tier", "safety_identifier"}) {
    EXPECT_EQ(refusal(with(chat(), field, "x")), "accepted") << field;
  }
}

TEST(CompletionRequest, StreamOptionsAreForStreams) {
  const json options = {{"include_usage", true}};
  EXPECT_EQ(refusal(with(chat(), "stream_options", options)),
            "stream_options invalid_value: stream_options: is for streams; set stream to true or "
            "leave it out");
  const json streamed = with(chat(), "stream", true);
  EXPECT_EQ(
      refusal(with(streamed, "stream_options", {{"x", 1}})),
      "stream_options.x unsupported_parameter: stream_options.x: is not served; include_usage "
      "is");
  EXPECT_EQ(refusal(with(streamed, "stream_options", true)),
            "stream_options invalid_type: stream_options: expected an object, got true (boolean)");
}

TEST(CompletionRequest, WhatIsNoJsonObjectIsRefused) {
  EXPECT_TRUE(refusal(std::string("{")).starts_with(" invalid_json: the body is not JSON: "));
  EXPECT_TRUE(refusal(std::string("")).starts_with(" invalid_json: "));
  EXPECT_TRUE(refusal(std::string("{\"model\": \"\xFF\"}")).starts_with(" invalid_json: "));
  EXPECT_TRUE(
      refusal(std::string(R"({"model": "m", "model": "n"})")).starts_with(" invalid_json: "));
  EXPECT_TRUE(refusal(std::string(100'000, '[')).starts_with(" invalid_json: "));
  EXPECT_EQ(refusal(std::string("[]")),
            "body invalid_type: body: expected an object, got [] (array)");
  EXPECT_EQ(refusal(std::string(R"({"model": "m"})")),
            "messages missing_field: messages: is missing");
}

TEST(CompletionRequest, ATextIsOnePrompt) {
  EXPECT_EQ(parse(text(), CompletionKind::kText).prompt, "Once");
  EXPECT_EQ(parse(with(text(), "prompt", {"Once"}), CompletionKind::kText).prompt, "Once");
  const auto of = [](const json& body) { return refusal(body, CompletionKind::kText); };
  EXPECT_EQ(of(with(text(), "prompt", {"a", "b"})),
            "prompt invalid_type: prompt: expected a string (or a list of one), got [\"a\",\"b\"] "
            "(array)");
  EXPECT_EQ(of(with(text(), "prompt", "")), "prompt missing_field: prompt: is missing or empty");
  EXPECT_TRUE(
      of(with(text(), "messages", json::array())).starts_with("messages unknown_parameter"));
  EXPECT_TRUE(of(with(text(), "logprobs", 1)).starts_with("logprobs unsupported_parameter"));
  EXPECT_TRUE(of(with(text(), "echo", true)).starts_with("echo unsupported_parameter"));
  EXPECT_EQ(of(with(text(), "suffix", "")), "accepted");
}

TEST(RequestError, IsWrittenInOpenAIsForm) {
  EXPECT_EQ(json::parse(error_json(RequestError(400, "n: no", {"n", "invalid_value"}))),
            (json{{"error",
                   {{"message", "n: no"},
                    {"type", "invalid_request_error"},
                    {"param", "n"},
                    {"code", "invalid_value"}}}}));
  const json bare = json::parse(error_json(RequestError(503, "stopping")))["error"];
  EXPECT_EQ(bare["type"], "server_error");
  EXPECT_TRUE(bare["param"].is_null() && bare["code"].is_null());
}

}  // namespace
}  // namespace molora
