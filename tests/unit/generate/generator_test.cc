#include "generate/generator.h"

#include <gtest/gtest.h>

#include "base/error.h"
#include "support/loaded_model.h"
#include "support/random_adapters.h"
#include "support/temp_folder.h"
#include "support/tiny_model.h"

namespace molora {
namespace {

class Generator : public ::testing::Test {
 protected:
  Generator() {
    nlohmann::json config = testing::tiny_config();
    config["use_sliding_window"] = true;
    config["sliding_window"] = 6;
    config["max_window_layers"] = 1;
    config["max_position_embeddings"] = 40;
    testing::write_tiny_model(folder_.path(), config);
    loaded_ = std::make_unique<testing::LoadedModel>(folder_.path(), AdapterConfig());
    testing::randomize(loaded_->adapters(), 5);
  }

  // The greedy continuation by whole forward passes, as in training.
  std::vector<int32_t> greedy_by_definition(std::vector<int32_t> ids, int64_t count) {
    const at::NoGradGuard no_grad;
    std::vector<int32_t> added;
    for (int64_t i = 0; i < count; ++i) {
      const TokenBatch batch = make_token_batch({ids}, {0});
      const Tensor logits =
          loaded_->model().logits(loaded_->model().hidden_states({.batch = batch}).slice(0, -1));
      ids.push_back(static_cast<int32_t>(logits.argmax(1).item<int64_t>()));
      added.push_back(ids.back());
    }
    return added;
  }

  testing::TempFolder folder_;
  std::unique_ptr<testing::LoadedModel> loaded_;
  const std::vector<std::vector<int32_t>> prompts_ = {{1, 2, 3}, {4}, {5, 6, 7, 8, 9, 10, 11, 12}};
};

TEST_F(Generator, GreedyEqualsTheTrainingForwardForEveryPromptOfABatch) {
  const auto results = generate(loaded_->model(), prompts_, {.max_new_tokens = 15});
  for (size_t i = 0; i < prompts_.size(); ++i) {
    EXPECT_EQ(results[i].ids, greedy_by_definition(prompts_[i], 15)) << "prompt " << i;
    EXPECT_EQ(results[i].end, GenerationEnd::kMaxNewTokens);
  }
}

TEST_F(Generator, SampledTextDoesNotDependOnTheRestOfTheBatch) {
  const GenerationOptions options{.sampling = {.temperature = 1.0, .seed = 3},
                                  .max_new_tokens = 12};
  const auto together = generate(loaded_->model(), prompts_, options);
  const auto alone = generate(loaded_->model(), {prompts_[0]}, options);
  EXPECT_EQ(alone[0].ids, together[0].ids);
  EXPECT_NE(together[0].ids, greedy_by_definition(prompts_[0], 12));
}

TEST_F(Generator, StopTokenEndsOneSequenceAndIsNotPartOfIt) {
  const auto whole = greedy_by_definition(prompts_[0], 10);
  const int32_t stop = whole[4];
  const size_t first =
      static_cast<size_t>(std::find(whole.begin(), whole.end(), stop) - whole.begin());
  const auto results =
      generate(loaded_->model(), prompts_, {.max_new_tokens = 10, .stop_ids = {stop}});
  EXPECT_EQ(results[0].ids,
            std::vector<int32_t>(whole.begin(), whole.begin() + static_cast<long>(first)));
  EXPECT_EQ(results[0].end, GenerationEnd::kStopToken);
}

TEST_F(Generator, EndsAtTheModelsLimit) {
  const auto results =
      generate(loaded_->model(), {std::vector<int32_t>(38, 1)}, {.max_new_tokens = 50});
  EXPECT_EQ(results[0].end, GenerationEnd::kModelLimit);
  EXPECT_EQ(results[0].ids.size(), 3u)
      << "40 positions hold 38 + 2 tokens, the last one is not fed";
}

TEST_F(Generator, TokensAreStreamedInOrder) {
  std::vector<std::vector<int32_t>> streamed(prompts_.size());
  const auto results =
      generate(loaded_->model(), prompts_, {.max_new_tokens = 6},
               [&](size_t sequence, int32_t id) { streamed[sequence].push_back(id); });
  for (size_t i = 0; i < prompts_.size(); ++i) EXPECT_EQ(streamed[i], results[i].ids);
}

TEST_F(Generator, EmptyPromptIsAFaultAndNoPromptsAreFine) {
  EXPECT_THROW((void)generate(loaded_->model(), {{}}, {}), InternalError);
  EXPECT_TRUE(generate(loaded_->model(), {}, {}).empty());
  EXPECT_TRUE(generate(loaded_->model(), {{1}}, {.max_new_tokens = 0})[0].ids.empty());
}

}  // namespace
}  // namespace molora
