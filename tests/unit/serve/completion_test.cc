#include "serve/completion.h"

#include <gtest/gtest.h>
#include <nlohmann/json.hpp>

#include "serve/completion_json.h"
#include "support/tiny_tokenizer.h"

namespace molora {
namespace {

using nlohmann::json;
using Clock = Scheduler::Clock;

constexpr char kMugs[] = "\xF0\x9F\x8D\xB5";  // U+1F375

// A chatml tokenizer, a token a byte, and a model that "answers" what a test feeds.
class CompletionTest : public ::testing::Test {
 protected:
  CompletionTest() {
    json document = testing::byte_level_json({});
    for (const char* name : {"<|im_start|>", "<|im_end|>"}) {
      document["added_tokens"].push_back(testing::added_token(document, name, {{"special", true}}));
    }
    tokenizer_ = testing::parse_tokenizer(document);
    chat_template_.emplace(*tokenizer_, DataConfig::chatml, "", DataConfig::answers);
    models_ = {{"base", tokenizer_.get(), &*chat_template_, {257}, 60},
               {"other", tokenizer_.get(), &*chat_template_, {257}, 60}};
    request_.model = "base";
    request_.turns = {{Role::kUser, "Hi"}};
  }

  Completion start() { return Completion(request_, models_, 50, scheduler_); }

  // What the model is asked for.
  NewSequence started() {
    const auto plan = scheduler_.next_step(Clock::now());
    return plan.value().added.at(0);
  }
  // The first sequence goes on with these bytes.
  void answer(const std::string& text, std::optional<GenerationEnd> end = std::nullopt) {
    for (size_t i = 0; i < text.size(); ++i) {
      scheduler_.deliver(
          0, {{1, static_cast<unsigned char>(text[i]), i + 1 == text.size() ? end : std::nullopt}});
    }
  }

  int refusal(const std::function<void()>& action) {
    try {
      action();
    } catch (const RequestError& error) {
      message_ = error.what();
      return error.status();
    }
    return 200;
  }

  std::unique_ptr<Tokenizer> tokenizer_;
  std::optional<ChatTemplate> chat_template_;
  std::vector<ServedModel> models_;
  Scheduler scheduler_{2, {}};
  CompletionRequest request_;
  std::string message_;
};

TEST_F(CompletionTest, TheModelIsGivenTheRenderedPromptAndTheOptions) {
  request_.temperature = 0.5;
  request_.top_p = 0.25;
  request_.top_k = 4;
  request_.seed = 9;
  request_.max_tokens = 3;
  const Completion completion = start();
  const NewSequence sequence = started();
  EXPECT_EQ(tokenizer_->decode(sequence.prompt, {.skip_special = false}),
            "<|im_start|>user\nHi<|im_end|>\n<|im_start|>assistant\n");
  EXPECT_EQ(sequence.options.sampling.temperature, 0.5);
  EXPECT_EQ(sequence.options.sampling.top_p, 0.25);
  EXPECT_EQ(sequence.options.sampling.top_k, 4);
  EXPECT_EQ(sequence.options.sampling.seed, 9u);
  EXPECT_EQ(sequence.options.max_new_tokens, 3);
  EXPECT_EQ(sequence.options.stop_ids, (std::vector<int32_t>{257}));
  EXPECT_EQ(completion.usage().prompt_tokens, std::ssize(sequence.prompt));
}

TEST_F(CompletionTest, WithoutANumberTheAnswerHasTheRoomThatThereIs) {
  {
    const Completion completion = start();
    const NewSequence sequence = started();
    EXPECT_EQ(sequence.options.max_new_tokens, 60 - std::ssize(sequence.prompt));
  }
  const Completion completion(request_, models_, 5, scheduler_);
  EXPECT_EQ(started().options.max_new_tokens, 5);
}

TEST_F(CompletionTest, WithoutASeedEachRequestHasItsOwn) {
  const Completion a = start();
  const Completion b = start();
  const auto plan = scheduler_.next_step(Clock::now());
  EXPECT_NE(plan->added.at(0).options.sampling.seed, plan->added.at(1).options.sampling.seed);
}

TEST_F(CompletionTest, APromptThatIsTooLongIsRefused) {
  request_.turns[0].text = std::string(60, 'x');
  EXPECT_EQ(refusal([&] { (void)start(); }), 400);
  EXPECT_EQ(message_.substr(0, 30), "messages: the prompt has 79 to") << message_;
  request_.turns[0].text = "Hi";
  request_.max_tokens = 40;
  EXPECT_EQ(refusal([&] { (void)start(); }), 400) << "21 + 40 > 60";
  request_.max_tokens = 39;
  EXPECT_EQ(refusal([&] { (void)start(); }), 200) << message_;
}

TEST_F(CompletionTest, AnUnknownModelIsA404ThatNamesTheOthers) {
  request_.model = "bse";
  EXPECT_EQ(refusal([&] { (void)start(); }), 404);
  EXPECT_EQ(message_, "model: there is no 'bse' here, but base, other");
}

TEST_F(CompletionTest, PiecesComeAsTheyAreCertainAndTokensAreCounted) {
  Completion completion = start();
  (void)started();
  answer(std::string("a") + kMugs);
  std::vector<std::string> texts;
  for (const CompletionPiece& piece : completion.next(Clock::now())) texts.push_back(piece.text);
  EXPECT_EQ(texts, (std::vector<std::string>{"a", "", "", "", kMugs}));
  scheduler_.deliver(0, {{1, std::nullopt, GenerationEnd::kStopToken}});
  const auto last = completion.next(Clock::now());
  ASSERT_EQ(last.size(), 1u);
  EXPECT_STREQ(last[0].finish_reason, "stop");
  EXPECT_TRUE(completion.is_done());
  EXPECT_EQ(completion.usage().completion_tokens, 5);
}

TEST_F(CompletionTest, TheLimitIsTheReasonOfItsEnd) {
  for (const GenerationEnd end : {GenerationEnd::kMaxNewTokens, GenerationEnd::kModelLimit}) {
    Completion completion = start();
    const uint64_t key = started().key;
    scheduler_.deliver(0, {{key, 'a', end}});
    const auto pieces = completion.next(Clock::now());
    EXPECT_STREQ(pieces.at(0).finish_reason, "length");
    EXPECT_EQ(pieces.at(0).text, "a");
  }
}

TEST_F(CompletionTest, AStopStringEndsTheChoiceAndFreesItsPlace) {
  request_.stop = {"END"};
  Completion completion = start();
  (void)started();
  answer("abENDcd");
  std::string text;
  const char* reason = nullptr;
  for (const CompletionPiece& piece : completion.next(Clock::now())) {
    text += piece.text;
    if (piece.finish_reason != nullptr) reason = piece.finish_reason;
  }
  EXPECT_EQ(text, "ab");
  EXPECT_STREQ(reason, "stop");
  EXPECT_TRUE(completion.is_done());
  EXPECT_TRUE(scheduler_.is_idle());
  EXPECT_EQ(completion.usage().completion_tokens, 5) << "those after the stop are not the answer's";
}

TEST_F(CompletionTest, ATextIsContinuedAsItIs) {
  request_.kind = CompletionKind::kText;
  request_.prompt = "Once";
  const Completion completion = start();
  EXPECT_EQ(started().prompt, tokenizer_->encode("Once"));
}

const CompletionHead kChatHead{CompletionKind::kChat, "chatcmpl-1", 17, "base"};
const CompletionHead kTextHead{CompletionKind::kText, "cmpl-1", 17, "base"};

TEST(CompletionJson, WholeAnswers) {
  const json chat =
      json::parse(completion_json(kChatHead, {{"Hi", "stop"}, {"Ho", "length"}}, {3, 4}));
  EXPECT_EQ(chat["object"], "chat.completion");
  EXPECT_EQ(chat["id"], "chatcmpl-1");
  EXPECT_EQ(chat["created"], 17);
  EXPECT_EQ(chat["model"], "base");
  EXPECT_EQ(chat["choices"][1]["index"], 1);
  EXPECT_EQ(chat["choices"][1]["finish_reason"], "length");
  EXPECT_EQ(chat["choices"][0]["message"]["role"], "assistant");
  EXPECT_EQ(chat["choices"][0]["message"]["content"], "Hi");
  EXPECT_EQ(chat["usage"],
            (json{{"prompt_tokens", 3}, {"completion_tokens", 4}, {"total_tokens", 7}}));
  const json text = json::parse(completion_json(kTextHead, {{"Hi", "stop"}}, {3, 4}));
  EXPECT_EQ(text["object"], "text_completion");
  EXPECT_EQ(text["choices"][0]["text"], "Hi");
}

TEST(CompletionJson, Chunks) {
  const json first = json::parse(first_chunk_json(kChatHead, 1, UsageChunk::kPromised));
  EXPECT_EQ(first["object"], "chat.completion.chunk");
  EXPECT_EQ(first["choices"][0]["index"], 1);
  EXPECT_EQ(first["choices"][0]["delta"], (json{{"role", "assistant"}, {"content", ""}}));
  EXPECT_TRUE(first["usage"].is_null());
  const json piece =
      json::parse(piece_chunk_json(kChatHead, {0, "Hi", nullptr}, UsageChunk::kNone));
  EXPECT_EQ(piece["choices"][0]["delta"], (json{{"content", "Hi"}}));
  EXPECT_TRUE(piece["choices"][0]["finish_reason"].is_null());
  EXPECT_FALSE(piece.contains("usage"));
  const json last = json::parse(piece_chunk_json(kChatHead, {0, "", "stop"}, UsageChunk::kNone));
  EXPECT_EQ(last["choices"][0]["delta"], json::object());
  EXPECT_EQ(last["choices"][0]["finish_reason"], "stop");
  const json text = json::parse(piece_chunk_json(kTextHead, {0, "Hi", nullptr}, UsageChunk::kNone));
  EXPECT_EQ(text["object"], "text_completion");
  EXPECT_EQ(text["choices"][0]["text"], "Hi");
  const json usage = json::parse(usage_chunk_json(kChatHead, {3, 4}));
  EXPECT_EQ(usage["choices"], json::array());
  EXPECT_EQ(usage["usage"]["total_tokens"], 7);
}

TEST(CompletionJson, IdsDifferAndSayTheirKind) {
  EXPECT_NE(new_completion_id(CompletionKind::kChat), new_completion_id(CompletionKind::kChat));
  EXPECT_EQ(new_completion_id(CompletionKind::kChat).substr(0, 9), "chatcmpl-");
  EXPECT_EQ(new_completion_id(CompletionKind::kText).size(), 5u + 24u);
}

}  // namespace
}  // namespace molora
