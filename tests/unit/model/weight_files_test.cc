#include "model/weight_files.h"

#include <algorithm>
#include <cmath>
#include <set>
#include <sstream>

#include <gtest/gtest.h>

#include "base/error.h"
#include "io/digest.h"
#include "support/expect_throw.h"
#include "support/stored_model.h"
#include "support/temp_folder.h"

namespace molora {
namespace {

using testing::TempFolder;
using testing::TensorMap;

// A folder with a random model whose tensors can be changed before it is opened.
class StoredModel {
 public:
  explicit StoredModel(const Architecture& a, at::ScalarType type = at::kBFloat16)
      : architecture(a), tensors(testing::random_tensors(a, type)) {}

  // A new file each time: those that are open keep theirs.
  WeightFiles open() const {
    std::filesystem::remove(folder_ / "model.safetensors");
    testing::write_tensors(folder_ / "model.safetensors", tensors);
    return {folder_.path(), architecture};
  }

  Architecture architecture;
  TensorMap tensors;

 private:
  TempFolder folder_;
};

Architecture tied_architecture() {
  Architecture a = testing::small_architecture(6);
  a.has_qkv_bias = a.has_tied_head = true;
  return a;
}

std::vector<std::string> all_digests(const WeightFiles& files, int64_t num_shares) {
  std::vector<std::string> digests;
  for (int64_t share = 0; share < num_shares; ++share) {
    digests.push_back(files.check_contents(share, num_shares));
  }
  return digests;
}

std::set<std::string> names_in(const std::string& digests) {
  std::set<std::string> names;
  std::istringstream stream(digests);
  for (std::string line; std::getline(stream, line);) names.insert(line.substr(0, line.find(' ')));
  return names;
}

// The shares that refuse the contents for a reason that names `tensor`.
std::vector<int64_t> refusing_shares(const WeightFiles& files, int64_t num_shares,
                                     const std::string& tensor) {
  std::vector<int64_t> refusing;
  for (int64_t share = 0; share < num_shares; ++share) {
    try {
      (void)files.check_contents(share, num_shares);
    } catch (const DataError& error) {
      EXPECT_THAT(error.what(), ::testing::HasSubstr(tensor));
      refusing.push_back(share);
    }
  }
  return refusing;
}

// From its definition: name, type, shape and digest of the bytes of every tensor, by name.
std::string fingerprint_of(const TensorMap& tensors) {
  std::string text;
  for (const auto& [name, tensor] : tensors) {
    const std::string dtype(dtype_name(stored_dtype(tensor.scalar_type())));
    text += name + " " + dtype + " " + shape_text(tensor.sizes().vec()) + " " +
            xxh3_hex(tensor_bytes(tensor)) + "\n";
  }
  return xxh3_hex(std::as_bytes(std::span(text.data(), text.size())));
}

TEST(WeightFiles, FingerprintIsTheSameForAnyNumberOfShares) {
  for (const at::ScalarType type : {at::kFloat, at::kHalf, at::kBFloat16, at::kDouble}) {
    const StoredModel model(tied_architecture(), type);
    const WeightFiles files = model.open();
    for (const int64_t num_shares : {1, 2, 3, 5, 100}) {
      std::vector<std::string> digests = all_digests(files, num_shares);
      std::reverse(digests.begin(), digests.end());
      EXPECT_EQ(files.fingerprint(digests), fingerprint_of(model.tensors)) << num_shares;
    }
  }
}

// Values that runs have recorded: a change of these would disown their checkpoints.
TEST(WeightFiles, FingerprintsOfPublishedFoldersStayWhatTheyAre) {
  const std::map<std::string, std::string> fingerprints = {
      {"tiny-llama3rope-tied-sharded", "e75516801564f2614c9cf26dc87c3120"},
      {"tiny-mistral-swa-untied-bf16", "78677794b929f51fd5ad21fe02c85b91"},
      {"tiny-qwen2-gqa-tied-sharded", "03966c929cf0e4cbb0546af61776381f"}};
  for (const auto& [name, fingerprint] : fingerprints) {
    const std::filesystem::path folder = std::filesystem::path("tests/assets/models") / name;
    const WeightFiles files(folder, read_architecture(folder, {}));
    for (const int64_t num_shares : {1, 2, 3, 5}) {
      EXPECT_EQ(files.fingerprint(all_digests(files, num_shares)), fingerprint) << name;
    }
  }
}

TEST(WeightFiles, SharesAreBalancedAndCoverEveryTensorOnce) {
  const StoredModel model(tied_architecture());
  const WeightFiles files = model.open();
  uint64_t largest = 0;
  for (const ExpectedTensor& tensor : files.expected()) {
    largest = std::max(largest, files.at(tensor.name).entry.bytes);
  }
  const uint64_t mean = static_cast<uint64_t>(files.stored_bytes()) / 3;
  size_t num_names = 0;
  for (const std::string& digests : all_digests(files, 3)) {
    uint64_t bytes = 0;
    for (const std::string& name : names_in(digests)) bytes += files.at(name).entry.bytes;
    EXPECT_LE(bytes, mean + largest);
    EXPECT_GE(bytes + largest, mean);
    num_names += names_in(digests).size();
  }
  EXPECT_EQ(num_names, files.expected().size());
}

TEST(WeightFiles, BadValueIsFoundByTheShareThatHasTheTensorAndNoOther) {
  const std::string name = "model.layers.1.mlp.up_proj.weight";
  for (const at::ScalarType type : {at::kFloat, at::kHalf, at::kBFloat16, at::kDouble}) {
    StoredModel model(tied_architecture(), type);
    std::vector<int64_t> holders;
    const std::vector<std::string> digests = all_digests(model.open(), 3);
    for (size_t share = 0; share < digests.size(); ++share) {
      if (names_in(digests[share]).count(name) > 0) holders.push_back(static_cast<int64_t>(share));
    }
    ASSERT_EQ(holders.size(), 1u);
    for (const double bad : {std::nan(""), HUGE_VAL, -HUGE_VAL}) {
      model.tensors[name][47][14] = bad;
      EXPECT_EQ(refusing_shares(model.open(), 3, name), holders) << at::toString(type) << bad;
    }
    model.tensors[name][47][14] = type == at::kHalf ? 65504.0 : 3e38;
    EXPECT_TRUE(refusing_shares(model.open(), 3, name).empty()) << at::toString(type);
  }
}

TEST(WeightFiles, BadValueIsFoundInTheLastOfSeveralBlocks) {
  Architecture a = testing::small_architecture(6);
  a.vocab_size = 200000;
  StoredModel model(a);
  const std::string name = "lm_head.weight";
  EXPECT_EQ(model.open().fingerprint({model.open().check_contents(0, 1)}),
            fingerprint_of(model.tensors));
  model.tensors[name][199999][14] = std::nan("");
  EXPECT_EQ(refusing_shares(model.open(), 2, name).size(), 1u);
}

TEST(WeightFiles, TiedHeadIsComparedByOneShare) {
  StoredModel model(tied_architecture());
  const std::string before = fingerprint_of(model.tensors);
  model.tensors["lm_head.weight"] = model.tensors["model.embed_tokens.weight"].clone();
  EXPECT_EQ(model.open().fingerprint(all_digests(model.open(), 3)), before);
  model.tensors["lm_head.weight"][36][14] += 1;
  EXPECT_EQ(refusing_shares(model.open(), 3, "lm_head.weight").size(), 1u);
  model.tensors["lm_head.weight"] = at::zeros({36, 15}, at::kBFloat16);
  EXPECT_EQ(refusing_shares(model.open(), 3, "tie_word_embeddings").size(), 1u);
}

TEST(WeightFiles, DigestsThatAreNotThoseOfEveryTensorOnceAreRefused) {
  const StoredModel model(tied_architecture());
  const WeightFiles files = model.open();
  const std::vector<std::string> digests = all_digests(files, 2);
  const std::string missing = *names_in(digests[1]).begin();
  EXPECT_THROW_WITH((void)files.fingerprint({digests[0]}), DataError, missing, "checked by no rank",
                    "same files on every machine");
  const std::string doubled = *names_in(digests[0]).begin();
  EXPECT_THROW_WITH((void)files.fingerprint({digests[0], digests[1], digests[0]}), DataError,
                    doubled, "should not have checked it");
  EXPECT_THROW_WITH((void)files.fingerprint({digests[0], digests[1], "other F32 [1] 00\n"}),
                    DataError, "tensor other", "should not have checked it");
}

TEST(WeightFiles, ShareOutsideTheSharesIsRefused) {
  const StoredModel model(tied_architecture());
  EXPECT_THROW_WITH((void)model.open().check_contents(2, 2), InternalError, "share 2 of 2");
}

TEST(WeightFiles, OpeningChecksNamesShapesAndTypesButNoValues) {
  StoredModel model(tied_architecture());
  model.tensors["model.norm.weight"][0] = std::nan("");
  EXPECT_NO_THROW((void)model.open());
  model.tensors["model.norm.weight"] = at::ones(16);
  EXPECT_THROW_WITH((void)model.open(), DataError, "model.norm.weight", "[16]", "[15]");
}

TEST(WeightFiles, FileThatShrinksAfterItWasOpenedIsAnErrorAndNotASignal) {
  const TempFolder folder;
  const Architecture a = tied_architecture();
  testing::write_tensors(folder / "model.safetensors", testing::random_tensors(a, at::kFloat));
  const WeightFiles files(folder.path(), a);
  std::filesystem::resize_file(folder / "model.safetensors", 4096);
  EXPECT_THROW_WITH((void)files.check_contents(0, 1), IoError, "model.safetensors", "shrank");
}

}  // namespace
}  // namespace molora
