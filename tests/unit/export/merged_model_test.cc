#include "export/merged_model.h"

#include <filesystem>
#include <fstream>
#include <string>
#include <vector>

#include <gtest/gtest.h>
#include <nlohmann/json.hpp>

#include "base/error.h"
#include "model/base_weights.h"
#include "model/weight_folder.h"
#include "support/expect_throw.h"
#include "support/golden_paths.h"
#include "support/random_adapters.h"
#include "support/temp_folder.h"
#include "tensor/tensor_bytes.h"

namespace molora {
namespace {

using testing::TempFolder;

AdapterConfig plain_lora() {
  AdapterConfig config;
  config.set_lora_rank(3);
  config.set_lora_alpha(5);
  TargetsConfig& targets = *config.mutable_targets();
  targets.set_k_proj(TargetsConfig::frozen);
  targets.set_gate_proj(TargetsConfig::lora);
  targets.set_up_proj(TargetsConfig::lora);
  targets.set_down_proj(TargetsConfig::lora);
  return config;
}

AdapterSet trained(const std::filesystem::path& base) {
  AdapterSet adapters(read_architecture(base, {}), plain_lora(), 1, at::kFloat);
  testing::randomize(adapters, 2);
  return adapters;
}

Tensor stored(const StoredTensors& tensors, const std::string& name) {
  const StoredTensor& found = tensors.at(name);
  return mapped_tensor(found.file, found.entry);
}

// Every tensor of the merged folder against the base's, in a type of the folder's own or another.
void check_merged(const std::filesystem::path& base, std::optional<at::ScalarType> type) {
  const TempFolder folder;
  const AdapterSet adapters = trained(base);
  write_merged_model(adapters, base, {type}, folder.path());
  const StoredTensors before = open_weight_folder(base);
  const StoredTensors after = open_weight_folder(folder.path());
  ASSERT_EQ(after.size(), before.size());
  std::map<std::string, Tensor> deltas;
  for (const LinearAdapter& linear : adapters.linears()) {
    deltas["model." + linear.path + ".weight"] =
        linear.lora_B.detach()[0].t().mm(linear.lora_A.detach()[0]) * (5.0 / 3.0);
  }
  size_t num_merged = 0;
  for (const auto& [name, tensor] : before) {
    const Tensor old = stored(before, name);
    const Tensor found = stored(after, name);
    EXPECT_EQ(found.scalar_type(), type.value_or(old.scalar_type())) << name;
    EXPECT_EQ(after.at(name).file->path().filename(), tensor.file->path().filename()) << name;
    if (deltas.count(name) == 0) {
      EXPECT_TRUE(found.equal(old.to(found.scalar_type()))) << name;
      continue;
    }
    ++num_merged;
    const Tensor wanted = old.to(at::kFloat) + deltas[name];
    const double bound = found.scalar_type() == at::kBFloat16 ? 1.0 / 128 : 1e-6;
    EXPECT_TRUE(at::allclose(found.to(at::kFloat), wanted, bound, bound)) << name;
    EXPECT_FALSE(found.equal(old.to(found.scalar_type()))) << name;
  }
  EXPECT_EQ(num_merged, deltas.size());
  // A whole model: it opens and its values are checked as those of any.
  const BaseWeights loaded(folder.path(), read_architecture(folder.path(), {}), at::kFloat);
  EXPECT_FALSE(loaded.fingerprint().empty());
}

TEST(MergedModel, IsTheSumInEveryKindOfFolder) {
  for (const char* name : {"tiny-llama-gqa-untied", "tiny-qwen2-gqa-tied-sharded",
                           "tiny-mistral-swa-untied-bf16", "medqwen3-1m"}) {
    SCOPED_TRACE(name);
    check_merged(testing::golden_root() / name, std::nullopt);
    check_merged(testing::golden_root() / name, at::kFloat);
  }
}

TEST(MergedModel, WhatLiesBesideTheWeightsComesAlong) {
  const TempFolder base;
  const TempFolder folder;
  const auto from = testing::golden_root() / "tiny-qwen2-gqa-tied-sharded";
  for (const auto& entry : std::filesystem::directory_iterator(from)) {
    const std::string name = entry.path().filename().string();
    if (name.starts_with("model") || name == "config.json") {
      std::filesystem::copy_file(entry.path(), base / name);
    }
  }
  std::ofstream(base / "tokenizer.json") << "{}";
  std::ofstream(base / "pytorch_model.bin") << "old weights";
  std::ofstream(base / ".hidden") << "cache";
  write_merged_model(trained(base.path()), base.path(), {at::kDouble}, folder.path());
  EXPECT_EQ(testing::read_text(folder / "tokenizer.json"), "{}");
  EXPECT_FALSE(std::filesystem::exists(folder / "pytorch_model.bin"));
  EXPECT_FALSE(std::filesystem::exists(folder / ".hidden"));
  const auto config = nlohmann::json::parse(testing::read_text(folder / "config.json"));
  EXPECT_EQ(config.contains("dtype") ? config["dtype"] : config["torch_dtype"], "float64");
  const auto index =
      nlohmann::json::parse(testing::read_text(folder / "model.safetensors.index.json"));
  uint64_t bytes = 0;
  for (const auto& [name, tensor] : open_weight_folder(folder.path())) bytes += tensor.entry.bytes;
  EXPECT_EQ(index["metadata"]["total_size"], bytes);
}

}  // namespace
}  // namespace molora
