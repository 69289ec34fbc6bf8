#include "model/decoder.h"

#include <gtest/gtest.h>

#include "support/loaded_model.h"
#include "support/random_adapters.h"
#include "support/temp_folder.h"
#include "support/tiny_model.h"

namespace molora {
namespace {

using testing::LoadedModel;
using testing::TempFolder;

class Decoder : public ::testing::Test {
 protected:
  static nlohmann::json config() {
    nlohmann::json config = testing::tiny_config();
    config["use_sliding_window"] = true;
    config["sliding_window"] = 3;
    config["max_window_layers"] = 1;
    return config;
  }
  Decoder() { testing::write_tiny_model(folder_.path(), config()); }

  LoadedModel load(at::ScalarType type = at::kDouble) {
    return {folder_.path(), AdapterConfig(), type};
  }

  TempFolder folder_;
  std::vector<std::vector<int32_t>> sequences_ = {{1, 2, 3, 4, 5, 6}, {7}, {8, 9, 10, 11}};
};

Tensor hidden(const CausalLM& model, const TokenBatch& batch, TrainConfig::Recompute recompute) {
  return model.hidden_states(
      {.batch = batch, .mode = ForwardMode::kTrain, .seed = 3, .step = 4, .recompute = recompute});
}

TEST_F(Decoder, SequencesOfABatchDoNotSeeEachOther) {
  const at::NoGradGuard no_grad;
  LoadedModel loaded = load();
  testing::randomize(loaded.adapters(), 1);
  const TokenBatch together = make_token_batch(sequences_, {10, 11, 12});
  const Tensor all = hidden(loaded.model(), together, TrainConfig::none);
  for (size_t s = 0; s < sequences_.size(); ++s) {
    const TokenBatch alone = make_token_batch({sequences_[s]}, {static_cast<int64_t>(10 + s)});
    EXPECT_TRUE(at::allclose(hidden(loaded.model(), alone, TrainConfig::none),
                             all.slice(0, together.starts[s], together.starts[s + 1]), 1e-11,
                             1e-12));
  }
}

TEST_F(Decoder, LaterTokensDoNotChangeEarlierOnes) {
  const at::NoGradGuard no_grad;
  LoadedModel loaded = load();
  testing::randomize(loaded.adapters(), 1);
  const Tensor longer =
      hidden(loaded.model(), make_token_batch({{1, 2, 3, 4}}, {0}), TrainConfig::none);
  const Tensor shorter = hidden(loaded.model(), make_token_batch({{1, 2}}, {0}), TrainConfig::none);
  EXPECT_TRUE(at::allclose(longer.slice(0, 0, 2), shorter, 1e-11, 1e-12));
}

TEST_F(Decoder, FreshAdaptersAreTheBaseBitForBit) {
  const at::NoGradGuard no_grad;
  for (const at::ScalarType type : {at::kFloat, at::kBFloat16, at::kDouble}) {
    LoadedModel adapted = load(type);
    const LoadedModel frozen(folder_.path(), testing::frozen_adapters(), type);
    const TokenBatch batch = make_token_batch(sequences_, {0, 1, 2});
    EXPECT_TRUE(adapted.model()
                    .hidden_states({.batch = batch})
                    .equal(frozen.model().hidden_states({.batch = batch})));
  }
}

TEST_F(Decoder, RecomputingGivesTheSameGradientsWithDropout) {
  LoadedModel loaded = load();
  testing::randomize(loaded.adapters(), 1);
  const TokenBatch batch = make_token_batch(sequences_, {0, 1, 2});
  std::vector<Tensor> expected;
  for (const auto recompute : {TrainConfig::none, TrainConfig::selective, TrainConfig::full}) {
    for (const Parameter& parameter : loaded.adapters().parameters()) {
      parameter.value.mutable_grad().reset();
    }
    RoutingChoices choices;
    const ForwardContext context{.batch = batch,
                                 .mode = ForwardMode::kTrain,
                                 .routing = {.choices = &choices},
                                 .recompute = recompute};
    loaded.model().hidden_states(context).square().sum().backward();
    for (size_t i = 0; i < loaded.adapters().parameters().size(); ++i) {
      const Parameter& parameter = loaded.adapters().parameters()[i];
      ASSERT_TRUE(parameter.value.grad().defined()) << parameter.name;
      if (recompute == TrainConfig::none) {
        expected.push_back(parameter.value.grad().clone());
        EXPECT_GT(expected.back().abs().max().item<double>(), 0.0) << parameter.name;
      } else {
        EXPECT_TRUE(at::allclose(parameter.value.grad(), expected[i], 1e-11, 1e-12))
            << parameter.name << " with recompute " << recompute;
      }
    }
  }
}

TEST_F(Decoder, CachedGenerationEqualsTheWholeForward) {
  const at::NoGradGuard no_grad;
  LoadedModel loaded = load();
  testing::randomize(loaded.adapters(), 1);
  const std::vector<std::vector<int32_t>> whole = {{1, 2, 3, 4, 5, 6, 7, 8}, {9, 10, 11, 12, 13}};
  KvCache cache(loaded.architecture().num_layers, 2);
  const auto feed = [&](const std::vector<std::vector<int32_t>>& pieces) {
    const TokenBatch batch = make_token_batch(pieces, {0, 1}, {cache.length(0), cache.length(1)});
    return loaded.model().hidden_states({.batch = batch, .cache = &cache});
  };
  const Tensor expected = loaded.model().hidden_states({.batch = make_token_batch(whole, {0, 1})});
  const Tensor first = feed({{1, 2, 3, 4, 5}, {9, 10}});
  EXPECT_TRUE(at::allclose(first.slice(0, 0, 5), expected.slice(0, 0, 5), 1e-11, 1e-12));
  const Tensor second = feed({{6}, {11}});
  EXPECT_TRUE(at::allclose(second[0], expected[5], 1e-11, 1e-12));
  EXPECT_TRUE(at::allclose(second[1], expected[8 + 2], 1e-11, 1e-12));
  const Tensor third = feed({{7, 8}, {12, 13}});
  EXPECT_TRUE(at::allclose(third.slice(0, 0, 2), expected.slice(0, 6, 8), 1e-11, 1e-12));
  EXPECT_TRUE(at::allclose(third.slice(0, 2, 4), expected.slice(0, 11, 13), 1e-11, 1e-12));
}

TEST_F(Decoder, NoTokensGiveAnEmptyConnectedResult) {
  for (const auto recompute : {TrainConfig::none, TrainConfig::selective, TrainConfig::full}) {
    LoadedModel loaded = load();
    const TokenBatch none = make_token_batch({}, {});
    const ForwardContext context{
        .batch = none, .mode = ForwardMode::kTrain, .recompute = recompute};
    const Tensor out = loaded.model().hidden_states(context);
    ASSERT_EQ(out.sizes(), (at::IntArrayRef{0, 16}));
    out.sum().backward();
    for (const Parameter& parameter : loaded.adapters().parameters()) {
      ASSERT_TRUE(parameter.value.grad().defined()) << parameter.name;
      EXPECT_EQ(parameter.value.grad().abs().max().item<double>(), 0.0) << parameter.name;
    }
  }
}

TEST_F(Decoder, TrainingDoesNotTouchTheBase) {
  LoadedModel loaded = load(at::kFloat);
  testing::randomize(loaded.adapters(), 1);
  const std::string before = loaded.weights().memory_fingerprint();
  const TokenBatch batch = make_token_batch(sequences_, {0, 1, 2});
  const ForwardContext context{.batch = batch, .mode = ForwardMode::kTrain};
  loaded.model().hidden_states(context).sum().backward();
  EXPECT_EQ(loaded.weights().memory_fingerprint(), before);
}

}  // namespace
}  // namespace molora
