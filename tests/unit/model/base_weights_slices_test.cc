// What the ranks of a tp axis load, against the whole tensors of the same files.
#include <cstring>
#include <memory>
#include <utility>
#include <vector>

#include <gtest/gtest.h>

#include "model/base_weights.h"
#include "support/process_numbers.h"
#include "support/stored_model.h"
#include "support/temp_folder.h"

namespace molora {
namespace {

using testing::small_architecture;
using testing::TempFolder;
using testing::TensorMap;

// A folder with a random model, open.
class OpenModel {
 public:
  OpenModel(const Architecture& architecture, TensorMap stored_tensors)
      : tensors(std::move(stored_tensors)), files_(written(), architecture) {}
  OpenModel(const Architecture& architecture, at::ScalarType stored)
      : OpenModel(architecture, testing::random_tensors(architecture, stored)) {}

  BaseWeights load(at::ScalarType type, int64_t tp, int64_t tp_rank) const {
    return {files_, {type}, tp, tp_rank, "fingerprint"};
  }
  std::vector<BaseWeights> load_all(at::ScalarType type, int64_t tp) const {
    std::vector<BaseWeights> ranks;
    for (int64_t tp_rank = 0; tp_rank < tp; ++tp_rank) ranks.push_back(load(type, tp, tp_rank));
    return ranks;
  }
  const WeightFiles& files() const { return files_; }

  const TensorMap tensors;  // as stored

 private:
  const std::filesystem::path& written() const {
    testing::write_tensors(folder_ / "model.safetensors", tensors);
    return folder_.path();
  }

  TempFolder folder_;
  WeightFiles files_;
};

bool same_bytes(const Tensor& a, const Tensor& b) {
  if (a.scalar_type() != b.scalar_type() || a.sizes() != b.sizes()) return false;
  const auto x = tensor_bytes(a);
  const auto y = tensor_bytes(b);
  return x.empty() || std::memcmp(x.data(), y.data(), x.size()) == 0;
}

// The slices of all ranks as one tensor; those that several ranks hold must be alike.
Tensor put_together(const std::vector<BaseWeights>& ranks, const ExpectedTensor& expected,
                    int64_t num_kv_heads) {
  const auto tp = static_cast<int64_t>(ranks.size());
  int64_t holders = 1;
  if (expected.split == TensorSplit::kWhole) holders = tp;
  if (expected.split == TensorSplit::kKvHeadRows && tp > num_kv_heads) holders = tp / num_kv_heads;
  std::vector<Tensor> slices;
  for (int64_t rank = 0; rank < tp; ++rank) {
    const Tensor slice = ranks[static_cast<size_t>(rank)].get(expected.name);
    if (rank % holders == 0) {
      slices.push_back(slice);
    } else {
      EXPECT_TRUE(same_bytes(slice, slices.back())) << expected.name << " on rank " << rank;
    }
  }
  return at::cat(slices, expected.split == TensorSplit::kColumns ? 1 : 0);
}

void expect_slices_of_whole(const OpenModel& model, at::ScalarType type, int64_t tp) {
  const std::vector<BaseWeights> ranks = model.load_all(type, tp);
  const int64_t num_kv_heads = model.files().architecture().num_kv_heads;
  for (const ExpectedTensor& expected : model.files().expected()) {
    const Tensor whole = model.tensors.at(expected.name).to(type);
    EXPECT_TRUE(same_bytes(put_together(ranks, expected, num_kv_heads), whole))
        << expected.name << " stored as " << model.tensors.at(expected.name).scalar_type()
        << ", loaded as " << type << ", tp " << tp;
  }
}

struct SplitCase {
  Architecture architecture;
  std::vector<int64_t> tp;
};

std::vector<SplitCase> split_cases() {
  SplitCase with_everything{small_architecture(6), {1, 2, 3, 6}};
  with_everything.architecture.has_qkv_bias = true;
  with_everything.architecture.has_o_bias = true;
  with_everything.architecture.has_mlp_bias = true;
  with_everything.architecture.has_qk_norm = true;
  SplitCase replicas{small_architecture(2), {1, 2, 4, 6, 8}};
  replicas.architecture.has_qkv_bias = true;
  replicas.architecture.has_tied_head = true;
  SplitCase bare{small_architecture(24), {1, 2, 3, 4, 6, 8}};
  bare.architecture.vocab_size = 5;  // some ranks have no row
  return {with_everything, replicas, bare};
}

TEST(BaseWeightsSlices, TogetherAreTheWholeTensors) {
  for (const SplitCase& split : split_cases()) {
    for (const at::ScalarType stored : {at::kFloat, at::kHalf, at::kBFloat16}) {
      const OpenModel model(split.architecture, stored);
      for (const at::ScalarType type : {at::kFloat, at::kBFloat16, at::kDouble, at::kHalf}) {
        for (const int64_t tp : split.tp) expect_slices_of_whole(model, type, tp);
      }
    }
  }
}

TEST(BaseWeightsSlices, TensorsThatAreNotAlignedInTheirFileAreReadRight) {
  const Architecture a = small_architecture(6);
  TensorMap tensors = testing::random_tensors(a, at::kFloat);
  for (const char* norm : {"model.layers.0.input_layernorm.weight", "model.norm.weight"}) {
    tensors[norm] = tensors[norm].to(at::kBFloat16);
  }
  const OpenModel model(a, tensors);
  EXPECT_EQ(model.files().at("model.layers.0.mlp.gate_proj.weight").entry.offset % 4, 2u);
  for (const int64_t tp : {1, 3}) expect_slices_of_whole(model, at::kFloat, tp);
}

TEST(BaseWeightsSlices, RowsOfTheStoredTypeReadTheFileInPlaceColumnsAreCopies) {
  const OpenModel model(small_architecture(6), at::kBFloat16);
  const BaseWeights one = model.load(at::kBFloat16, 3, 1);
  const BaseWeights other = model.load(at::kBFloat16, 3, 1);
  for (const ExpectedTensor& tensor : model.files().expected()) {
    const bool is_shared =
        one.get(tensor.name).const_data_ptr() == other.get(tensor.name).const_data_ptr();
    EXPECT_EQ(is_shared, tensor.split != TensorSplit::kColumns) << tensor.name;
  }
}

TEST(BaseWeightsSlicesDeathTest, WritingToASliceInPlaceEndsInASignal) {
  GTEST_FLAG_SET(death_test_style, "threadsafe");
  const OpenModel model(small_architecture(6), at::kFloat);
  const BaseWeights weights = model.load(at::kFloat, 3, 1);
  EXPECT_DEATH(weights.get("model.layers.0.mlp.gate_proj.weight").zero_(), "");
}

TEST(BaseWeightsSlices, OutliveTheOpenFiles) {
  auto model = std::make_unique<OpenModel>(small_architecture(6), at::kFloat);
  const BaseWeights weights = model->load(at::kFloat, 3, 1);
  const Tensor whole = model->tensors.at("model.layers.1.mlp.up_proj.weight");
  model.reset();
  EXPECT_TRUE(same_bytes(weights.get("model.layers.1.mlp.up_proj.weight"), whole.slice(0, 16, 32)));
}

TEST(BaseWeightsSlices, BytesKeptAreThoseOfTheSlicesInTheComputeType) {
  const OpenModel model(small_architecture(6), at::kBFloat16);
  int64_t elements = 0;
  for (const auto& [name, tensor] : model.tensors) elements += tensor.numel();
  EXPECT_EQ(model.load(at::kFloat, 1, 0).kept_bytes(), 4 * elements);
  int64_t kept = 0;
  for (const BaseWeights& rank : model.load_all(at::kDouble, 3)) {
    kept += rank.kept_bytes();
    EXPECT_EQ(rank.stored_bytes(), 2 * elements);
    EXPECT_EQ(rank.fingerprint(), "fingerprint");
  }
  // Two layers with two norms and the last one are held by all.
  EXPECT_EQ(kept, 8 * (elements + 2 * 5 * 15));
}

TEST(BaseWeightsSlices, MemoryFingerprintIsThatOfTheSlicesHeld) {
  const OpenModel model(small_architecture(2), at::kBFloat16);
  const BaseWeights weights = model.load(at::kFloat, 4, 1);
  const std::string before = weights.memory_fingerprint();
  EXPECT_EQ(model.load(at::kFloat, 4, 1).memory_fingerprint(), before);
  EXPECT_NE(model.load(at::kFloat, 4, 2).memory_fingerprint(), before);
  weights.get("model.layers.1.mlp.down_proj.weight").select(0, 14).select(0, 11).add_(1);
  EXPECT_NE(weights.memory_fingerprint(), before);
}

class BaseWeightsReads : public ::testing::Test {
 protected:
  static Architecture architecture() {
    Architecture a = small_architecture(4);
    a.num_heads = 8;
    a.head_dim = 8;
    a.hidden_size = 64;
    a.intermediate_size = 256;
    a.num_layers = 4;
    a.vocab_size = 250;
    return a;
  }
  // Bytes that `work` reads from files, without those of asking for the number.
  template <typename Work>
  static int64_t bytes_read_by(const Work& work) {
    const int64_t start = testing::bytes_read();
    const int64_t asking = testing::bytes_read() - start;
    work();
    return testing::bytes_read() - start - 2 * asking;
  }
  static constexpr int64_t kSlack = 16 << 10;  // the numbers in /proc grow longer

  const OpenModel model_{architecture(), at::kBFloat16};
  const int64_t stored_ = model_.files().stored_bytes();
};

TEST_F(BaseWeightsReads, ConvertingRankReadsItsSlicesAndNoMore) {
  std::vector<BaseWeights> weights;
  const int64_t bytes = bytes_read_by([&] { weights.push_back(model_.load(at::kFloat, 4, 1)); });
  EXPECT_NEAR(bytes, weights[0].kept_bytes() / 2, kSlack);
  EXPECT_LT(bytes, stored_ * 26 / 100);
}

TEST_F(BaseWeightsReads, RankOfTheStoredTypeReadsItsColumnsOnly) {
  int64_t columns = 0;
  for (const ExpectedTensor& tensor : model_.files().expected()) {
    if (tensor.split == TensorSplit::kColumns) columns += 2 * shape_elements(tensor.shape);
  }
  const int64_t bytes = bytes_read_by([&] { (void)model_.load(at::kBFloat16, 4, 1); });
  EXPECT_NEAR(bytes, columns / 4, kSlack);
}

TEST_F(BaseWeightsReads, CheckReadsItsShareOnce) {
  int64_t sum = 0;
  for (const int64_t share : {0, 1, 2, 3}) {
    const int64_t bytes = bytes_read_by([&] { (void)model_.files().check_contents(share, 4); });
    EXPECT_LT(bytes, stored_ * 27 / 100) << share;
    sum += bytes;
  }
  EXPECT_NEAR(sum, stored_, 4 * kSlack);
}

}  // namespace
}  // namespace molora
