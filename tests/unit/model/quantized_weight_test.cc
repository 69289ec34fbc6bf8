// Quantised weights as a rank loads them, against the quantised whole.
#include "model/quantized_weight.h"

#include <cmath>
#include <optional>
#include <utility>
#include <vector>

#include <gtest/gtest.h>

#include "base/error.h"
#include "model/base_weights.h"
#include "support/expect_throw.h"
#include "support/process_numbers.h"
#include "support/stored_model.h"
#include "support/temp_folder.h"

namespace molora {
namespace {

using testing::TempFolder;
using testing::TensorMap;

constexpr BlockFormat kFormats[] = {BlockFormat::kInt8, BlockFormat::kNf4};
constexpr char kDown[] = "model.layers.1.mlp.down_proj.weight";
constexpr char kGate[] = "model.layers.0.mlp.gate_proj.weight";

// No block ends where a slice of 2, 3 or 4 ranks does; some slices begin at an odd column.
Architecture architecture() {
  Architecture a = testing::small_architecture(4);
  a.num_heads = 12;
  a.num_kv_heads = 12;
  a.head_dim = 25;
  a.hidden_size = 70;
  a.intermediate_size = 516;
  return a;
}

class QuantizedModel {
 public:
  explicit QuantizedModel(at::ScalarType stored = at::kBFloat16)
      : QuantizedModel(testing::random_tensors(architecture(), stored)) {}
  explicit QuantizedModel(TensorMap stored_tensors)
      : tensors(std::move(stored_tensors)), files_(written(), architecture()) {}

  BaseWeights load(const WeightStorage& storage, int64_t tp = 1, int64_t tp_rank = 0) const {
    return {files_, storage, tp, tp_rank, "fingerprint"};
  }
  const WeightFiles& files() const { return files_; }

  const TensorMap tensors;

 private:
  const std::filesystem::path& written() const {
    testing::write_tensors(folder_ / "model.safetensors", tensors);
    return folder_.path();
  }
  TempFolder folder_;
  WeightFiles files_;
};

TEST(QuantizedWeight, SlicesOfEveryRankAreThoseOfTheQuantizedWhole) {
  for (const at::ScalarType stored : {at::kBFloat16, at::kFloat, at::kHalf}) {
    const QuantizedModel model(stored);
    for (const BlockFormat format : kFormats) {
      for (const int64_t tp : {1, 2, 3, 4}) {
        for (int64_t rank = 0; rank < tp; ++rank) {
          const BaseWeights weights = model.load({at::kDouble, format}, tp, rank);
          for (const ExpectedTensor& expected : model.files().expected()) {
            if (!expected.is_linear_weight) continue;
            const TensorBox box = held_box(model.files().architecture(), expected, tp, rank);
            const Tensor whole =
                dequantize(quantize(model.tensors.at(expected.name), format), at::kDouble);
            const std::optional<QuantizedMatrix> slice = weights.quantized(expected.name);
            ASSERT_TRUE(slice.has_value()) << expected.name;
            EXPECT_TRUE(at::equal(dequantize(*slice, at::kDouble),
                                  whole.narrow(0, box.offset[0], box.shape[0])
                                      .narrow(1, box.offset[1], box.shape[1])))
                << expected.name << " on rank " << rank << " of " << tp;
          }
        }
      }
    }
  }
}

TEST(QuantizedWeight, EmbeddingNormsBiasesAndHeadStayAsTheyAre) {
  const QuantizedModel model;
  const BaseWeights plain = model.load({at::kFloat});
  const BaseWeights weights = model.load({at::kFloat, BlockFormat::kNf4});
  int64_t num_linears = 0;
  for (const ExpectedTensor& expected : model.files().expected()) {
    if (expected.is_linear_weight) {
      ++num_linears;
      EXPECT_THROW_WITH(weights.get(expected.name), InternalError, expected.name, "is quantised");
      EXPECT_FALSE(plain.quantized(expected.name).has_value());
    } else {
      EXPECT_TRUE(at::equal(weights.get(expected.name), plain.get(expected.name)));
    }
  }
  EXPECT_EQ(num_linears, 2 * 7);
  EXPECT_FALSE(weights.quantized("model.layers.0.self_attn.o_proj.bias").has_value());
}

TEST(QuantizedWeight, ComputeTypeDoesNotChangeTheCodes) {
  const QuantizedModel model(at::kFloat);
  for (const BlockFormat format : kFormats) {
    const QuantizedMatrix a = *model.load({at::kBFloat16, format}).quantized(kDown);
    const QuantizedMatrix b = *model.load({at::kDouble, format}).quantized(kDown);
    EXPECT_TRUE(at::equal(a.codes, b.codes));
    EXPECT_TRUE(at::equal(a.scales_RB, b.scales_RB));
  }
}

TEST(QuantizedWeight, BytesKeptAreThoseOfTheFormula) {
  const QuantizedModel model;
  const BaseWeights plain = model.load({at::kFloat}, 2, 1);
  for (const BlockFormat format : kFormats) {
    const int64_t width = block_width(format);
    int64_t bytes = plain.kept_bytes();
    for (const ExpectedTensor& expected : model.files().expected()) {
      if (!expected.is_linear_weight) continue;
      const TensorBox box = held_box(model.files().architecture(), expected, 2, 1);
      const int64_t begin = box.offset[1];
      const int64_t columns = box.shape[1];
      const int64_t blocks = (begin + columns + width - 1) / width - begin / width;
      const int64_t codes = format == BlockFormat::kInt8 ? columns : (begin % 2 + columns + 1) / 2;
      bytes += box.shape[0] * (codes + 4 * blocks - 4 * columns);
    }
    EXPECT_EQ(model.load({at::kFloat, format}, 2, 1).kept_bytes(), bytes);
  }
}

TEST(QuantizedWeight, MemoryFingerprintSeesCodesAndScales) {
  const QuantizedModel model;
  const BaseWeights weights = model.load({at::kFloat, BlockFormat::kNf4});
  const std::string before = weights.memory_fingerprint();
  EXPECT_EQ(model.load({at::kFloat, BlockFormat::kNf4}).memory_fingerprint(), before);
  EXPECT_NE(model.load({at::kFloat, BlockFormat::kInt8}).memory_fingerprint(), before);
  const QuantizedMatrix gate = *weights.quantized(kGate);
  gate.codes[3][2].bitwise_xor_(1);
  const std::string other_code = weights.memory_fingerprint();
  EXPECT_NE(other_code, before);
  gate.codes[3][2].bitwise_xor_(1);
  EXPECT_EQ(weights.memory_fingerprint(), before);
  gate.scales_RB[3][1].mul_(2);
  EXPECT_NE(weights.memory_fingerprint(), before);
}

TEST(QuantizedWeight, ValueThatIsNotFiniteIsNamedWithItsPlaceInTheWhole) {
  for (const double bad : {std::nan(""), HUGE_VAL}) {
    TensorMap tensors = testing::random_tensors(architecture(), at::kFloat);
    tensors[kDown][60][300] = bad;
    const QuantizedModel model(std::move(tensors));
    for (const BlockFormat format : kFormats) {
      EXPECT_THROW_WITH((void)model.load({at::kFloat, format}, 2, 1), DataError,
                        "model.safetensors", kDown, "row 60, column 300",
                        std::isnan(bad) ? "nan" : "inf", "cannot be quantised");
    }
    EXPECT_NO_THROW((void)model.load({at::kFloat}, 2, 1));
  }
}

TEST(QuantizedWeight, NumberBeyondSinglePrecisionIsRefused) {
  TensorMap tensors = testing::random_tensors(architecture(), at::kDouble);
  tensors[kGate][7][11] = 1e40;
  const QuantizedModel model(std::move(tensors));
  EXPECT_THROW_WITH((void)model.load({at::kDouble, BlockFormat::kInt8}), DataError, kGate,
                    "row 7, column 11 holds 1e+40");
}

TEST(QuantizedWeight, OnlyColumnsThatShareABlockAreReadBesidesTheSlice) {
  const TempFolder folder;
  const Tensor whole = at::rand({64, 4096}).to(at::kBFloat16);
  testing::write_tensors(folder / "x.safetensors", {{"x", whole}});
  StoredTensor stored;
  stored.file = std::make_shared<const SafetensorsFile>(folder / "x.safetensors");
  stored.entry = stored.file->at("x");
  const ReadBuffer buffer;
  const int64_t before = testing::bytes_read();
  const int64_t asking = testing::bytes_read() - before;
  const int64_t start = testing::bytes_read();
  (void)load_quantized(stored, {{0, 1000}, {64, 500}}, BlockFormat::kInt8, buffer);
  const int64_t bytes = testing::bytes_read() - start - asking;
  // Columns 896 to 1,535.
  EXPECT_NEAR(bytes, 64 * 640 * 2, 256);
}

}  // namespace
}  // namespace molora
