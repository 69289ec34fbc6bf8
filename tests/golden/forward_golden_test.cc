// Logits, hidden states, losses and greedy continuations of published models against numbers
// computed with the reference library, for every model folder with weights and golden_forward
// files.
#include <fmt/format.h>
#include <gtest/gtest.h>

#include "model/decoder.h"
#include "support/golden_folder.h"
#include "support/loaded_model.h"
#include "train/loss.h"

namespace molora {
namespace {

using nlohmann::json;
using testing::LoadedModel;
using testing::TensorMap;

// The reference's own eager and fused attention differ by 1.1e-5 on logits of deviation 2.
constexpr double kTolerance = 1e-4;

std::vector<int32_t> row_ids(const Tensor& ids, int64_t row, int64_t length) {
  std::vector<int32_t> list;
  for (int64_t i = 0; i < length; ++i) list.push_back(ids[row][i].item<int32_t>());
  return list;
}

struct Forward {
  std::vector<Tensor> hidden;  // hidden[k]: input of layer k; the last one after the final norm
  Tensor logits;
};

Forward forward(const CausalLM& model, const std::vector<std::vector<int32_t>>& sequences) {
  const at::NoGradGuard no_grad;
  const TokenBatch batch = make_token_batch(sequences, std::vector<int64_t>(sequences.size(), 0));
  Forward result;
  ForwardContext context{.batch = batch};
  context.on_hidden = [&result](int64_t, const Tensor& x) { result.hidden.push_back(x); };
  result.logits = model.logits(model.hidden_states(context));
  return result;
}

void expect_near(const Tensor& got, const Tensor& expected, const std::string& what) {
  ASSERT_EQ(got.sizes(), expected.sizes()) << what;
  const double difference = (got - expected).abs().max().item<double>();
  EXPECT_LE(difference, kTolerance) << what;
}

// Each token after the prompt is the one with the largest logit after those before it (a logit that
// is lower by less than the tolerance counts as equal).
void expect_greedy(const CausalLM& model, const std::vector<int32_t>& ids, size_t prompt_length,
                   const std::string& what) {
  const Tensor logits = forward(model, {ids}).logits;
  for (size_t i = prompt_length; i < ids.size(); ++i) {
    const Tensor row = logits[static_cast<int64_t>(i) - 1];
    EXPECT_GE(row[ids[i]].item<float>(), row.max().item<float>() - kTolerance)
        << what << ": token " << i << " is not the greedy one";
  }
}

void check_arrays(const CausalLM& model, const TensorMap& golden) {
  const Tensor ids = golden.at("input_ids");
  const Tensor mask =
      golden.count("attention_mask") > 0 ? golden.at("attention_mask") : at::ones_like(ids);
  std::vector<std::vector<int32_t>> sequences;
  std::vector<int64_t> lengths;
  for (int64_t row = 0; row < ids.size(0); ++row) {
    lengths.push_back(mask[row].sum().item<int64_t>());
    sequences.push_back(row_ids(ids, row, lengths.back()));
  }
  const Forward got = forward(model, sequences);
  int64_t begin = 0;
  for (int64_t row = 0; row < ids.size(0); ++row) {
    const int64_t length = lengths[static_cast<size_t>(row)];
    const auto mine = [&](const Tensor& x) { return x.slice(0, begin, begin + length); };
    const auto theirs = [&](const Tensor& x) { return x[row].slice(0, 0, length); };
    const std::string where = fmt::format("row {}", row);
    if (golden.count("logits") > 0) {
      expect_near(mine(got.logits), theirs(golden.at("logits")), where + " logits");
    }
    for (const auto& [k, expected] : testing::with_prefix(golden, "hidden_")) {
      const auto index = static_cast<size_t>(std::stoul(k));
      ASSERT_LT(index, got.hidden.size());
      expect_near(mine(got.hidden[index]), theirs(expected), where + " hidden_" + k);
    }
    if (golden.count("token_nll") > 0) {
      const Tensor targets = ids[row].slice(0, 1, length).to(at::kLong);
      const Tensor hidden = mine(got.hidden.back()).slice(0, 0, length - 1);
      Tensor nll = next_token_loss(model, hidden, targets).nll_N;
      if (golden.count("labels") > 0) {  // tokens that are not supervised are stored as 0
        nll = nll * (golden.at("labels")[row].slice(0, 1, length) != -100);
      }
      expect_near(nll, golden.at("token_nll")[row].slice(0, 0, length - 1), where + " token_nll");
    }
    begin += length;
  }
  for (const auto& [name, greedy] : testing::with_prefix(golden, "greedy")) {
    const size_t prompt_length = name.starts_with("_from_bos") ? 1 : 12;
    expect_greedy(model, row_ids(greedy, 0, greedy.size(1)), prompt_length, "greedy" + name);
  }
}

Tensor float_list(const json& list) { return at::tensor(list.get<std::vector<float>>()); }

// The stored ids have the stored logits, and no other id has a larger one than the last of them.
void check_top(const Tensor& logits_V, const json& item) {
  const Tensor ids = at::tensor(item.at("last_top10_ids").get<std::vector<int64_t>>(), at::kLong);
  const Tensor expected = float_list(item.at("last_top10_logits"));
  ASSERT_EQ(ids.numel(), 10);
  expect_near(logits_V.index_select(0, ids), expected, "logits of the top 10");
  expect_near(std::get<0>(logits_V.topk(10)), expected, "the 10 largest logits");
}

void check_prompt(const CausalLM& model, const json& item) {
  SCOPED_TRACE(item.at("prompt").dump());
  std::vector<int32_t> ids = item.at("input_ids").get<std::vector<int32_t>>();
  const Forward got = forward(model, {ids});
  check_top(got.logits[-1], item);
  if (item.contains("token_nll")) {
    const Tensor targets = at::tensor(std::vector<int64_t>(ids.begin() + 1, ids.end()), at::kLong);
    const Tensor nll = next_token_loss(model, got.hidden.back().slice(0, 0, -1), targets).nll_N;
    expect_near(nll, float_list(item["token_nll"]), "token_nll");
  }
  const size_t prompt_length = ids.size();
  const auto greedy = item.at("greedy_ids").get<std::vector<int32_t>>();
  ASSERT_FALSE(greedy.empty());
  ids.insert(ids.end(), greedy.begin(), greedy.end());
  expect_greedy(model, ids, prompt_length, "greedy_ids");
}

void check_stored_tensors(const BaseWeights& weights, const json& checks) {
  for (const auto& [name, check] : checks.items()) {
    const Tensor tensor = weights.get(name).to(at::kDouble);
    EXPECT_EQ(tensor.sizes().vec(), check.at("shape").get<Shape>()) << name;
    const Tensor first = tensor.flatten().slice(0, 0, 8).to(at::kFloat);
    EXPECT_TRUE(first.equal(float_list(check.at("first8")))) << name;
    const double abs_sum = check.at("abs_sum").get<double>();
    EXPECT_NEAR(tensor.sum().item<double>(), check.at("sum").get<double>(), 1e-6 * abs_sum) << name;
    EXPECT_NEAR(tensor.abs().sum().item<double>(), abs_sum, 1e-6 * abs_sum) << name;
  }
}

class ForwardGolden : public ::testing::TestWithParam<std::filesystem::path> {};

TEST_P(ForwardGolden, EqualsTheReference) {
  const LoadedModel loaded(GetParam(), testing::frozen_adapters());
  size_t checked = 0;
  for (const auto& file : testing::golden_files(GetParam(), "golden_forward", ".safetensors")) {
    check_arrays(loaded.model(), testing::read_tensors(file));
    ++checked;
  }
  for (const auto& file : testing::golden_files(GetParam(), "golden_forward", ".json")) {
    const json golden = testing::read_json(file);
    for (const json& item : golden.value("forward", json::array())) {
      check_prompt(loaded.model(), item);
      ++checked;
    }
    if (golden.contains("tensor_checks")) {
      check_stored_tensors(loaded.weights(), golden["tensor_checks"]);
      ++checked;
    }
    if (golden.contains("params")) {
      EXPECT_EQ(count_base_parameters(loaded.architecture()), golden["params"].get<int64_t>());
    }
  }
  EXPECT_GT(checked, 0u) << "no golden number was found";
}

INSTANTIATE_TEST_SUITE_P(Models, ForwardGolden,
                         ::testing::ValuesIn(testing::golden_folders("golden_forward")),
                         [](const auto& param) { return testing::test_name(param.param); });

TEST(ForwardGoldenFolders, AtLeastOneModelIsTested) {
  EXPECT_FALSE(testing::golden_folders("golden_forward").empty()) << testing::golden_root();
}

}  // namespace
}  // namespace molora
