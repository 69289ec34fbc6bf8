#include "eval/eval_set.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "base/error.h"
#include "support/expect_throw.h"

namespace molora {
namespace {

using ::testing::ElementsAre;

class EvalSetTest : public ::testing::Test {
 protected:
  EvalSetTest()
      : tokenizer_(load_tokenizer("tests/assets/models/medqwen3-1m")),
        template_(*tokenizer_, DataConfig::chatml, "You are a helpful assistant.",
                  DataConfig::answers) {}

  static Conversation dialogue(const std::string& task, const std::string& question,
                               const std::string& answer) {
    Conversation conversation;
    conversation.turns = {{Role::kUser, question}, {Role::kAssistant, answer}};
    conversation.task = task;
    return conversation;
  }

  std::unique_ptr<Tokenizer> tokenizer_;
  ChatTemplate template_;
};

TEST_F(EvalSetTest, LettersAreScoredWithoutAndWordsWithTheEndToken) {
  EvalSetBuilder builder(template_, {.max_length = 512});
  builder.add(dialogue("letters", "Which?\nA. one\nB. two", "B. two"));
  builder.add(dialogue("words", "Is it?\nAnswer yes, no or maybe.", "no"));
  const EvalSet set = builder.finish();
  EXPECT_THAT(set.tasks, ElementsAre("letters", "words"));
  const EncodedQuestion& letters = *set.items[0].question;
  EXPECT_EQ(letters.candidates[1], tokenizer_->encode("B"));
  const EncodedQuestion& words = *set.items[1].question;
  std::vector<TokenId> no = tokenizer_->encode("no");
  no.push_back(tokenizer_->token_id("<|im_end|>").value());
  EXPECT_EQ(words.candidates[1], no);
  // The answer of the sample continues the prompt.
  const auto& ids = set.items[1].sample.ids;
  ASSERT_GT(ids.size(), words.prompt.size());
  EXPECT_TRUE(std::equal(words.prompt.begin(), words.prompt.end(), ids.begin()));
  EXPECT_TRUE(std::equal(no.begin(), no.end(),
                         ids.begin() + static_cast<std::ptrdiff_t>(words.prompt.size())));
}

TEST_F(EvalSetTest, SharesTogetherHoldEveryItemOnceAndTheSameTasks) {
  const auto build = [&](int64_t share, int64_t shares) {
    EvalSetBuilder builder(
        template_,
        {.max_length = 512, .max_samples_per_task = 3, .share = share, .num_shares = shares});
    for (int i = 0; i < 10; ++i) {
      builder.add(dialogue(i % 2 == 0 ? "even" : "odd", "Question " + std::to_string(i), "Answer"));
    }
    return builder.finish();
  };
  const EvalSet whole = build(0, 1);
  EXPECT_EQ(whole.items.size(), 6u);
  EXPECT_EQ(whole.num_over_limit, 4);
  std::vector<std::vector<TokenId>> parts;
  int64_t over_limit = 0;
  for (int64_t share = 0; share < 4; ++share) {
    const EvalSet part = build(share, 4);
    EXPECT_EQ(part.tasks, whole.tasks);
    over_limit += part.num_over_limit;
    for (const EvalItem& item : part.items) parts.push_back(item.sample.ids);
  }
  EXPECT_EQ(over_limit, 4);
  std::vector<std::vector<TokenId>> all;
  for (const EvalItem& item : whole.items) all.push_back(item.sample.ids);
  EXPECT_THAT(parts, ::testing::UnorderedElementsAreArray(all));
}

TEST_F(EvalSetTest, TooLongSamplesAreCutOrDroppedAndCounted) {
  const size_t prompt = template_.encode_prompt({{Role::kUser, "What is it?"}}).size();
  EvalSetBuilder builder(template_, {.max_length = static_cast<int64_t>(prompt) + 3});
  builder.add(dialogue("t", "What is it?", "It is a long answer that goes on and on."));
  builder.add(dialogue("t", "What is it, if it is anything that one can tell?", "Nothing"));
  const EvalSet set = builder.finish();
  EXPECT_EQ(set.num_truncated, 1);
  EXPECT_EQ(set.num_dropped, 1);
  ASSERT_EQ(set.items.size(), 1u);
  EXPECT_EQ(set.items[0].sample.ids.size(), prompt + 3);
}

TEST_F(EvalSetTest, SamplesWithoutATaskAreUntagged) {
  EvalSetBuilder builder(template_, {.max_length = 512});
  builder.add(dialogue("", "What?", "That."));
  EXPECT_THAT(builder.finish().tasks, ElementsAre("untagged"));
}

TEST_F(EvalSetTest, NothingToEvaluateIsRefused) {
  EvalSetBuilder builder(template_, {.max_length = 512});
  EXPECT_THROW_WITH(builder.finish(), DataError,
                    "there are no held-out samples to evaluate (data.eval)");
}

TEST_F(EvalSetTest, ItemsHaveTheirPlaceAndTheDigestOfTheirPrompt) {
  const auto build = [&](int64_t share, int64_t shares) {
    EvalSetBuilder builder(template_, {.max_length = 512, .share = share, .num_shares = shares});
    for (int i = 0; i < 5; ++i) {
      Conversation conversation = dialogue("t", "Question " + std::to_string(i), "Answer");
      conversation.id = "id-" + std::to_string(i);
      builder.add(conversation);
    }
    return builder.finish();
  };
  const EvalSet whole = build(0, 1);
  const EvalSet half = build(1, 2);
  EXPECT_EQ(half.items[1].index, 3);
  EXPECT_EQ(half.items[1].id, "id-3");
  EXPECT_EQ(half.items[1].prompt_sha256, whole.items[3].prompt_sha256);
  EXPECT_NE(whole.items[3].prompt_sha256, whole.items[4].prompt_sha256);
  EXPECT_EQ(whole.items[0].prompt_sha256.size(), 64u);
}

TEST_F(EvalSetTest, BenchmarkTasksAreQuestionsOnlyWhereTheyHaveLabels) {
  EvalSetBuilder builder(template_, {.max_length = 512});
  // Its wording alone would make it a question: "options: a, b".
  Conversation terms = dialogue("", "Which?\nOptions: lung, liver", "liver");
  terms.dataset = "CHIP-CDN";
  terms.choices = {"lung", "liver"};
  builder.add(terms);
  Conversation label = dialogue("", "Related?", "yes");
  label.dataset = "KUAKE-QIC";
  label.choices = {"yes", "no", "yes"};
  builder.add(label);
  builder.add(dialogue("", "Which?\nOptions: lung, liver", "liver"));
  const EvalSet set = builder.finish();
  EXPECT_FALSE(set.items[0].question.has_value());
  ASSERT_TRUE(set.items[0].benchmark.has_value());
  EXPECT_EQ(set.items[0].benchmark->prompt,
            template_.encode_prompt({{Role::kUser, terms.turns[0].text}}));
  ASSERT_TRUE(set.items[1].question.has_value());
  EXPECT_EQ(set.items[1].question->question.candidates.size(), 3u);  // yes, no, none of them
  EXPECT_TRUE(set.items[1].benchmark.has_value());
  EXPECT_TRUE(set.items[2].question.has_value());
  EXPECT_FALSE(set.items[2].benchmark.has_value());
}

}  // namespace
}  // namespace molora
