#include "eval/evaluator.h"

#include <cmath>

#include <gtest/gtest.h>

#include "comm/thread_communicator.h"
#include "generate/generator.h"
#include "support/loaded_model.h"
#include "support/random_adapters.h"
#include "support/temp_folder.h"
#include "support/tiny_model.h"

namespace molora {
namespace {

constexpr TokenId kEnd = 36;

// Two tasks: free text, and questions whose candidates are single tokens or longer.
EvalSet small_set() {
  EvalSet set;
  set.tasks = {"text", "exam"};
  for (TokenId i = 0; i < 9; ++i) {
    EvalItem item;
    item.task = static_cast<size_t>(i % 2);
    const TokenId a = 1 + i;
    item.sample.ids = {a, 4, static_cast<TokenId>(20 - i), 7, static_cast<TokenId>(30 - i), kEnd};
    item.sample.supervised = {0, 0, 0, 1, static_cast<uint8_t>(i % 3 == 0 ? 0 : 1), 1};
    if (item.task == 1) {
      EncodedQuestion question;
      question.question.candidates = {"one", "two", "three"};
      question.question.correct = {static_cast<size_t>(i) % 3};
      question.prompt = {a, 4, static_cast<TokenId>(20 - i)};
      question.candidates = {{7}, {8}, {9}};
      if (i == 5) question.candidates = {{7, kEnd}, {8, 11, kEnd}, {9}};
      item.question = question;
    }
    set.items.push_back(item);
  }
  return set;
}

class EvaluatorTest : public ::testing::Test {
 protected:
  EvaluatorTest() : set_(small_set()) {
    testing::write_tiny_model(folder_.path(), testing::tiny_config());
    loaded_ = std::make_unique<testing::LoadedModel>(folder_.path(), AdapterConfig(), at::kDouble);
    testing::randomize(loaded_->adapters(), 5, 0.3);
  }

  // log p(token at `index` | tokens before it), from whole logits.
  double log_likelihood(const std::vector<TokenId>& ids, size_t index) {
    const at::NoGradGuard no_grad;
    const TokenBatch batch = make_token_batch({ids}, {0});
    const at::Tensor logits =
        loaded_->model().logits(loaded_->model().hidden_states({.batch = batch}));
    return at::log_softmax(logits, 1)[static_cast<int64_t>(index) - 1][ids[index]].item<double>();
  }

  double log_likelihood_of_answer(std::vector<TokenId> prompt, const std::vector<TokenId>& answer) {
    double sum = 0.0;
    for (const TokenId id : answer) {
      prompt.push_back(id);
      sum += log_likelihood(prompt, prompt.size() - 1);
    }
    return sum;
  }

  std::vector<TaskResult> evaluate(const EvaluatorOptions& options) {
    const auto alone = make_single_communicator("world");
    return Evaluator(loaded_->model(), set_, options).run(*alone).results;
  }

  testing::TempFolder folder_;
  std::unique_ptr<testing::LoadedModel> loaded_;
  EvalSet set_;
};

TEST_F(EvaluatorTest, LossIsTheSumOverSupervisedTokensPerTask) {
  const auto results = evaluate({.tokens_per_pass = 10});
  for (size_t task = 0; task < 2; ++task) {
    double loss = 0.0;
    int64_t supervised = 0;
    int64_t samples = 0;
    for (const EvalItem& item : set_.items) {
      if (item.task != task) continue;
      ++samples;
      for (size_t t = 1; t < item.sample.ids.size(); ++t) {
        if (item.sample.supervised[t] == 0) continue;
        loss -= log_likelihood(item.sample.ids, t);
        ++supervised;
      }
    }
    EXPECT_EQ(results[task].task(), set_.tasks[task]);
    EXPECT_EQ(results[task].samples(), samples);
    EXPECT_EQ(results[task].supervised(), supervised);
    EXPECT_NEAR(results[task].loss_sum(), loss, 1e-10);
  }
}

TEST_F(EvaluatorTest, TheLikeliestCandidateIsTheAnswer) {
  int64_t correct = 0;
  for (const EvalItem& item : set_.items) {
    if (!item.question) continue;
    std::vector<double> scores;
    for (const auto& candidate : item.question->candidates) {
      scores.push_back(log_likelihood_of_answer(item.question->prompt, candidate));
    }
    const auto best = std::max_element(scores.begin(), scores.end()) - scores.begin();
    correct += static_cast<size_t>(best) == item.question->question.correct[0] ? 1 : 0;
  }
  const auto results = evaluate({});
  EXPECT_EQ(results[0].questions(), 0);
  EXPECT_EQ(results[1].questions(), 4);
  EXPECT_EQ(results[1].correct_questions(), correct);
  EXPECT_NEAR(results[1].chance_questions(), 4.0 / 3.0, 1e-12);
}

TEST_F(EvaluatorTest, CandidateScoresAreLogLikelihoodsHoweverThePassesAreCut) {
  const EncodedQuestion& question = *set_.items[5].question;
  for (const int64_t tokens : {1, 7, 4096}) {
    const Evaluator evaluator(loaded_->model(), set_, {.tokens_per_pass = tokens});
    const std::vector<double> scores = evaluator.candidate_scores(question);
    ASSERT_EQ(scores.size(), 3u);
    for (size_t i = 0; i < scores.size(); ++i) {
      EXPECT_NEAR(scores[i], log_likelihood_of_answer(question.prompt, question.candidates[i]),
                  1e-10);
    }
  }
}

TEST_F(EvaluatorTest, GeneratedAnswersAreReadAndCounted) {
  EvaluatorOptions options;
  options.max_new_tokens = 4;
  options.stop_ids = {kEnd};
  // Even tokens say "two", odd ones nothing.
  options.decode = [](const std::vector<TokenId>& ids) {
    return !ids.empty() && ids.front() % 2 == 0 ? std::string("two") : std::string("hm");
  };
  int64_t correct = 0;
  int64_t unnamed = 0;
  for (const EvalItem& item : set_.items) {
    if (!item.question) continue;
    const auto answer = generate(loaded_->model(), {item.question->prompt},
                                 {.max_new_tokens = 4, .stop_ids = {kEnd}})[0];
    const bool says_two = options.decode(answer.ids) == "two";
    if (!says_two) ++unnamed;
    if (says_two && item.question->question.correct[0] == 1) ++correct;
  }
  const auto results = evaluate(options);
  EXPECT_EQ(results[1].generated(), 4);
  EXPECT_EQ(results[1].correct_generated(), correct);
  EXPECT_EQ(results[1].unnamed_generated(), unnamed);
  EXPECT_EQ(results[0].generated(), 0);
  EXPECT_FALSE(evaluate({})[1].has_generated());
}

TEST_F(EvaluatorTest, OutcomesOfItemsAddUpToTheResults) {
  const auto alone = make_single_communicator("world");
  const Evaluation got = Evaluator(loaded_->model(), set_, {.tokens_per_pass = 10}).run(*alone);
  ASSERT_EQ(got.outcomes.size(), set_.items.size());
  for (size_t task = 0; task < 2; ++task) {
    double loss = 0.0;
    int64_t supervised = 0;
    for (size_t i = 0; i < set_.items.size(); ++i) {
      if (set_.items[i].task != task) continue;
      loss += got.outcomes[i].loss_sum;
      supervised += got.outcomes[i].supervised;
      EXPECT_EQ(got.outcomes[i].likeliest.has_value(), task == 1);
      EXPECT_FALSE(got.outcomes[i].biased || got.outcomes[i].generated);
    }
    EXPECT_DOUBLE_EQ(got.results[task].loss_sum(), loss);
    EXPECT_EQ(got.results[task].supervised(), supervised);
  }
}

// The one token is the likeliest after +100 on those of the letters: computed from whole logits.
TEST_F(EvaluatorTest, ABiasedAnswerIsOneGreedyTokenAfterTheBias) {
  for (EvalItem& item : set_.items) {
    if (item.question) item.question->question.are_letters = true;
  }
  EvaluatorOptions options;
  options.adds_biased_answers = true;
  options.decode = [](const std::vector<TokenId>& ids) { return std::to_string(ids.at(0)); };
  const auto alone = make_single_communicator("world");
  const Evaluation got = Evaluator(loaded_->model(), set_, options).run(*alone);
  int asked = 0;
  for (size_t i = 0; i < set_.items.size(); ++i) {
    const auto& question = set_.items[i].question;
    const bool is_asked = question && question->candidates[0].size() == 1;
    EXPECT_EQ(got.outcomes[i].biased.has_value(), is_asked) << i;
    if (!is_asked) continue;
    ++asked;
    const at::NoGradGuard no_grad;
    const TokenBatch batch = make_token_batch({question->prompt}, {0});
    at::Tensor logits =
        loaded_->model().logits(loaded_->model().hidden_states({.batch = batch}))[-1].clone();
    for (const auto& candidate : question->candidates) logits[candidate[0]] += 100.0;
    EXPECT_EQ(*got.outcomes[i].biased, std::to_string(logits.argmax().item<int64_t>())) << i;
  }
  EXPECT_GT(asked, 1);
}

TEST_F(EvaluatorTest, ItemsOfABenchmarkAreGeneratedToo) {
  set_.items[0].benchmark = BenchmarkItem{find_cblue_task("MedDG"), {}, "two", {1, 4, 20}};
  EvaluatorOptions options;
  options.max_new_tokens = 3;
  options.stop_ids = {kEnd};
  options.decode = [](const std::vector<TokenId>& ids) { return std::to_string(ids.size()); };
  const auto alone = make_single_communicator("world");
  const Evaluation got = Evaluator(loaded_->model(), set_, options).run(*alone);
  const auto answer =
      generate(loaded_->model(), {{1, 4, 20}}, {.max_new_tokens = 3, .stop_ids = {kEnd}})[0];
  EXPECT_EQ(got.outcomes[0].generated, std::to_string(answer.ids.size()));
  EXPECT_FALSE(got.outcomes[2].generated.has_value());
}

TEST_F(EvaluatorTest, OneChoiceIsNeverRightWhereSeveralAre) {
  for (EvalItem& item : set_.items) {
    if (item.question) item.question->question.correct = {0, 1};
  }
  const auto results = evaluate({});
  EXPECT_EQ(results[1].questions(), 4);
  EXPECT_EQ(results[1].correct_questions(), 0);
  EXPECT_EQ(results[1].chance_questions(), 0.0);
}

TEST_F(EvaluatorTest, RanksWithSharesGiveWhatOneRankGives) {
  const auto whole = evaluate({});
  for (const int ranks : {2, 3, 12}) {
    run_rank_threads(ranks, [&](Communicator& communicator) {
      EvalSet share;
      share.tasks = set_.tasks;
      for (size_t i = 0; i < set_.items.size(); ++i) {
        if (static_cast<int>(i) % ranks == communicator.rank())
          share.items.push_back(set_.items[i]);
      }
      const auto results = Evaluator(loaded_->model(), share, {}).run(communicator).results;
      for (size_t task = 0; task < 2; ++task) {
        EXPECT_NEAR(results[task].loss_sum(), whole[task].loss_sum(), 1e-10);
        EXPECT_EQ(results[task].samples(), whole[task].samples());
        EXPECT_EQ(results[task].correct_tokens(), whole[task].correct_tokens());
        EXPECT_EQ(results[task].correct_questions(), whole[task].correct_questions());
      }
    });
  }
}

}  // namespace
}  // namespace molora
