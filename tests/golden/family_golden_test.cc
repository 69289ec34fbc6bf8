// The adapted linears of the MoLoRA family against their definitions in plain PyTorch
// (family_golden.py): outputs and the gradients of the input and of every trained tensor.
#include <algorithm>

#include <google/protobuf/text_format.h>
#include <gtest/gtest.h>
#include <nlohmann/json.hpp>

#include "model/molora_linear.h"
#include "support/golden_folder.h"
#include "support/tiny_model.h"

namespace molora {
namespace {

using testing::TensorMap;

constexpr double kTolerance = 1e-12;

std::filesystem::path golden_file() { return "tests/assets/family/golden_family.safetensors"; }

AdapterConfig parse_adapter(const std::string& text) {
  AdapterConfig config;
  EXPECT_TRUE(google::protobuf::TextFormat::ParseFromString(text, &config)) << text;
  return config;
}

double difference(const Tensor& a, const Tensor& b) {
  EXPECT_EQ(a.sizes(), b.sizes());
  return (a - b).abs().max().item<double>();
}

// One linear of the tiny model with the adapter and the numbers of a case.
class GoldenLinear {
 public:
  GoldenLinear(const nlohmann::json& about, TensorMap numbers)
      : numbers_(std::move(numbers)),
        adapters_(parse_architecture(testing::tiny_config().dump(), "config.json", {}),
                  parse_adapter(about.at("config")), 3, at::kDouble),
        adapter_(*adapters_.find(about.at("layer").get<int64_t>(), LinearKind::kGate)) {
    const at::NoGradGuard no_grad;
    for (const Parameter& parameter : parameters()) {
      const auto found = numbers_.find("of/" + suffix_of(parameter));
      if (found != numbers_.end()) parameter.value.detach().copy_(found->second);
    }
    std::vector<std::vector<int32_t>> sequences;
    std::vector<int64_t> samples;
    std::vector<int64_t> tasks;
    const auto task_of = about.at("tasks").get<std::vector<int64_t>>();
    for (int64_t t = 0; t < numbers_.at("of/x").size(0); ++t) {
      sequences.push_back({1});
      samples.push_back(t);
      tasks.push_back(task_of.empty() ? 0 : task_of[static_cast<size_t>(t)]);
    }
    batch_ = make_token_batch(sequences, samples, {}, tasks);
  }

  void expect_golden() {
    const Tensor x = numbers_.at("of/x").clone().set_requires_grad(true);
    const FrozenLinear base{numbers_.at("weight"), numbers_.at("bias")};
    const Tensor out = adapted_linear(x, base, &adapter_, {.batch = batch_});
    EXPECT_LE(difference(out, numbers_.at("out")), kTolerance);
    (out * numbers_.at("direction")).sum().backward();
    EXPECT_LE(difference(x.grad(), numbers_.at("d/x")), kTolerance) << "x";
    size_t num_compared = 0;
    for (const Parameter& parameter : parameters()) {
      const auto found = numbers_.find("d/" + suffix_of(parameter));
      if (found == numbers_.end()) continue;
      Tensor gradient = parameter.value.grad();
      ASSERT_TRUE(gradient.defined()) << parameter.name;
      for (const int64_t row : parameter.frozen_rows) gradient.select(0, row).zero_();
      EXPECT_LE(difference(gradient, found->second), kTolerance) << parameter.name;
      EXPECT_GT(gradient.abs().max().item<double>(), 0.0) << parameter.name;
      ++num_compared;
    }
    const auto num_golden =
        static_cast<size_t>(std::count_if(numbers_.begin(), numbers_.end(), [](const auto& item) {
          return item.first.starts_with("of/");
        }));
    EXPECT_EQ(num_compared + 1, num_golden);
  }

 private:
  // Of this linear, and those that all linears have in common.
  std::vector<Parameter> parameters() const {
    std::vector<Parameter> found;
    for (const Parameter& parameter : adapters_.parameters()) {
      if (parameter.name.starts_with(adapter_.path + ".") ||
          parameter.name.starts_with("task_router.")) {
        found.push_back(parameter);
      }
    }
    return found;
  }

  std::string suffix_of(const Parameter& parameter) const {
    return parameter.name.starts_with(adapter_.path)
               ? parameter.name.substr(adapter_.path.size() + 1)
               : parameter.name;
  }

  TensorMap numbers_;
  AdapterSet adapters_;
  const LinearAdapter& adapter_;
  TokenBatch batch_;
};

TEST(FamilyGolden, EveryMethodIsItsDefinition) {
  const SafetensorsFile file(golden_file());
  const auto cases = nlohmann::json::parse(file.metadata().at("cases"));
  ASSERT_GE(cases.size(), 11u);
  const TensorMap tensors = testing::read_tensors(golden_file());
  for (const auto& [name, about] : cases.items()) {
    SCOPED_TRACE(name);
    GoldenLinear(about, testing::with_prefix(tensors, name + "/")).expect_golden();
  }
}

}  // namespace
}  // namespace molora
