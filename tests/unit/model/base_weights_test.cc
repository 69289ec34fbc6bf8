#include "model/base_weights.h"

#include <cmath>
#include <cstring>

#include <gtest/gtest.h>

#include "base/error.h"
#include "support/expect_throw.h"
#include "support/stored_model.h"
#include "support/temp_folder.h"
#include "support/tiny_model.h"

namespace molora {
namespace {

using nlohmann::json;
using testing::TempFolder;
using testing::TensorMap;
using testing::tiny_config;
using testing::write_tensors;

BaseWeights load(const std::filesystem::path& folder, at::ScalarType type = at::kFloat) {
  return {folder, read_architecture(folder, {}), type};
}

// A tiny model whose tensors can be changed before it is written again.
class ChangedModel {
 public:
  explicit ChangedModel(const json& config = tiny_config()) {
    testing::write_tiny_model(folder_.path(), config);
    for (const auto& [name, tensor] : testing::read_tensors(file())) tensors[name] = tensor.clone();
  }
  BaseWeights load_changed() const {
    std::filesystem::remove(file());
    write_tensors(file(), tensors);
    return load(folder_.path());
  }
  std::filesystem::path file() const { return folder_ / "model.safetensors"; }
  const TempFolder& folder() const { return folder_; }

  TensorMap tensors;

 private:
  TempFolder folder_;
};

TEST(BaseWeights, GivesEveryTensorAndNoOther) {
  const ChangedModel model;
  const BaseWeights weights = load(model.folder().path());
  EXPECT_EQ(weights.get("model.layers.1.mlp.down_proj.weight").sizes(), (at::IntArrayRef{16, 24}));
  EXPECT_TRUE(weights.get("model.layers.0.self_attn.q_proj.bias").defined());
  EXPECT_FALSE(weights.get("model.layers.0.self_attn.o_proj.bias").defined());
}

TEST(BaseWeights, MissingTensorIsNamedWithItsShapeAndTheNearest) {
  ChangedModel model;
  model.tensors["model.layers.0.mlp.gate_porj.weight"] =
      model.tensors["model.layers.0.mlp.gate_proj.weight"];
  model.tensors.erase("model.layers.0.mlp.gate_proj.weight");
  EXPECT_THROW_WITH(model.load_changed(), DataError, "model.layers.0.mlp.gate_proj.weight",
                    "[24, 16]", "is missing", "gate_porj");
}

TEST(BaseWeights, LeftOverTensorIsRefused) {
  ChangedModel model;
  model.tensors["model.layers.0.self_attn.o_proj.bias"] = at::ones(16);
  EXPECT_THROW_WITH(model.load_changed(), DataError, "model.safetensors",
                    "model.layers.0.self_attn.o_proj.bias", "no such tensor");
}

TEST(BaseWeights, WrongShapeIsRefused) {
  ChangedModel model;
  model.tensors["model.norm.weight"] = at::ones(17);
  EXPECT_THROW_WITH(model.load_changed(), DataError, "model.norm.weight", "[17]", "[16]");
}

TEST(BaseWeights, WrongTypeIsRefused) {
  ChangedModel model;
  model.tensors["model.norm.weight"] = at::ones(16, at::kInt);
  EXPECT_THROW_WITH(model.load_changed(), DataError, "model.norm.weight", "I32");
}

TEST(BaseWeights, NanAndInfinityAreRefused) {
  for (const double bad : {std::nan(""), HUGE_VAL, -HUGE_VAL}) {
    ChangedModel model;
    model.tensors["model.layers.1.mlp.up_proj.weight"][23][15] = bad;
    EXPECT_THROW_WITH(model.load_changed(), DataError, "model.layers.1.mlp.up_proj.weight", "NaN");
  }
}

// Wherever it stands, in every type, beside numbers that are as large as they get.
TEST(BaseWeights, ANumberThatIsNotFiniteIsFoundAtEveryPlace) {
  const std::string name = "model.layers.1.self_attn.q_proj.bias";
  for (const auto type : {at::kFloat, at::kHalf, at::kBFloat16, at::kDouble}) {
    ChangedModel model;
    const double largest = type == at::kHalf ? 65504.0 : 3.0e38;
    const at::Tensor good = at::full_like(model.tensors.at(name), -largest).to(type);
    model.tensors[name] = good;
    EXPECT_NO_THROW((void)model.load_changed());
    for (int64_t i = 0; i < good.numel(); ++i) {
      for (const double bad : {std::nan(""), HUGE_VAL, -HUGE_VAL}) {
        model.tensors[name] = good.clone();
        model.tensors[name][i] = bad;
        EXPECT_THROW_WITH(model.load_changed(), DataError, name, "NaN");
      }
    }
  }
}

TEST(BaseWeights, TruncatedFileIsRefused) {
  const ChangedModel model;
  std::filesystem::resize_file(model.file(), std::filesystem::file_size(model.file()) - 1);
  EXPECT_THROW_WITH(load(model.folder().path()), DataError, "truncated");
}

TEST(BaseWeights, TiedHeadMustBeTheEmbedding) {
  ChangedModel model;
  model.tensors["lm_head.weight"] = model.tensors["model.embed_tokens.weight"].clone();
  EXPECT_NO_THROW((void)model.load_changed());
  model.tensors["lm_head.weight"][0][0] += 1;
  EXPECT_THROW_WITH(model.load_changed(), DataError, "lm_head.weight", "tie_word_embeddings");
}

TEST(BaseWeights, StoredFrequenciesMustBeTheConfigured) {
  ChangedModel model;
  model.tensors["model.layers.0.self_attn.rotary_emb.inv_freq"] = at::tensor({1.0f, 0.01f});
  EXPECT_NO_THROW((void)model.load_changed());
  model.tensors["model.layers.0.self_attn.rotary_emb.inv_freq"] = at::tensor({1.0f, 0.5f});
  EXPECT_THROW_WITH(model.load_changed(), DataError, "inv_freq", "differ");
}

TEST(BaseWeights, FolderWithoutWeightsSaysWhatIsNeeded) {
  const TempFolder folder;
  folder.write("config.json", tiny_config().dump());
  EXPECT_THROW_WITH(load(folder.path()), DataError, "model.safetensors", "converted");
}

// The model in two files with an index.
class ShardedModel : public ChangedModel {
 public:
  ShardedModel() {
    TensorMap parts[2];
    size_t i = 0;
    for (const auto& [name, tensor] : tensors) {
      const size_t part = i++ % 2;
      parts[part][name] = tensor;
      index["weight_map"][name] = file_name(part);
    }
    for (const size_t part : {size_t{0}, size_t{1}})
      write_tensors(folder() / file_name(part), parts[part]);
    std::filesystem::remove(file());
  }
  static std::string file_name(size_t part) {
    return part == 0 ? "a.safetensors" : "b.safetensors";
  }
  BaseWeights load_sharded() const {
    folder().write("model.safetensors.index.json", index.dump());
    return load(folder().path());
  }
  json index;
};

TEST(BaseWeightsSharded, HasTheFingerprintOfTheSingleFile) {
  const ChangedModel single;
  const ShardedModel sharded;
  EXPECT_EQ(load(single.folder().path()).fingerprint(), sharded.load_sharded().fingerprint());
}

TEST(BaseWeightsSharded, TensorThatTheIndexDoesNotListIsRefused) {
  ShardedModel model;
  model.index["weight_map"].erase("model.norm.weight");
  EXPECT_THROW_WITH(model.load_sharded(), DataError, "model.norm.weight", "not listed");
}

TEST(BaseWeightsSharded, TensorThatIsListedElsewhereIsRefused) {
  ShardedModel model;
  model.index["weight_map"]["model.extra"] = "a.safetensors";
  EXPECT_THROW_WITH(model.load_sharded(), DataError, "model.extra", "a.safetensors",
                    "not in that file");
}

TEST(BaseWeightsSharded, MissingShardIsNamed) {
  const ShardedModel model;
  std::filesystem::remove(model.folder() / "b.safetensors");
  EXPECT_THROW_WITH(model.load_sharded(), IoError, "b.safetensors");
}

TEST(BaseWeightsSharded, FilesOutsideTheFolderAreRefused) {
  ShardedModel model;
  model.index["weight_map"]["model.norm.weight"] = "../a.safetensors";
  EXPECT_THROW_WITH(model.load_sharded(), DataError, "../a.safetensors");
}

TEST(BaseWeightsSharded, SingleFileBesideAnIndexIsAmbiguous) {
  const ShardedModel model;
  model.folder().write("model.safetensors", "");
  EXPECT_THROW_WITH(model.load_sharded(), DataError, "both");
}

TEST(BaseWeights, FingerprintIsThatOfTheStoredBytes) {
  ChangedModel model;
  const std::string before = load(model.folder().path()).fingerprint();
  EXPECT_EQ(load(model.folder().path(), at::kBFloat16).fingerprint(), before);
  model.tensors["model.norm.weight"][3] += 1e-6f;
  EXPECT_NE(model.load_changed().fingerprint(), before);
}

TEST(BaseWeights, SameTypeReadsTheFileInPlaceOthersAreConverted) {
  const ChangedModel model;
  EXPECT_EQ(load(model.folder().path(), at::kDouble).get("model.norm.weight").scalar_type(),
            at::kDouble);
  const BaseWeights weights = load(model.folder().path());
  EXPECT_EQ(weights.memory_fingerprint(), load(model.folder().path()).memory_fingerprint());
}

}  // namespace
}  // namespace molora
