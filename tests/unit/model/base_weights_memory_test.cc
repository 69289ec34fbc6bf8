// How much memory loading takes at its peak, in a process of its own.
#include <cstdlib>
#include <filesystem>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include <fmt/format.h>
#include <gtest/gtest.h>

#include "model/base_weights.h"
#include "support/process_numbers.h"
#include "support/stored_model.h"
#include "support/temp_folder.h"

namespace molora {
namespace {

constexpr char kFolderVariable[] = "MOLORA_TEST_LARGE_MODEL";

// 138M parameters, 276 MB in bf16.
Architecture large_architecture() {
  Architecture a;
  a.vocab_size = 16001;
  a.hidden_size = 1024;
  a.intermediate_size = 4096;
  a.num_layers = 8;
  a.num_heads = 16;
  a.num_kv_heads = 4;
  a.head_dim = 64;
  a.has_tied_head = true;
  return a;
}

// The peak of memory that loading may take, of the bytes kept.
struct MemoryBounds {
  at::ScalarType type;
  double least;  // less would mean that it was not measured
  double most;
  std::optional<BlockFormat> linears = std::nullopt;
};

// Loads rank 1 of 4 as a rank of a run does. Prints what it took, and ends this process with 0 when
// that is within the bounds.
[[noreturn]] void load_and_exit(const std::filesystem::path& folder, const MemoryBounds& bounds) {
  const int64_t baseline = testing::process_number("status", "VmRSS:") * 1024;
  const WeightFiles files(folder, large_architecture());
  const std::string digests = files.check_contents(1, 4);
  const BaseWeights weights(files, {bounds.type, bounds.linears}, 4, 1, digests);
  const int64_t peak = testing::process_number("status", "VmHWM:") * 1024 - baseline;
  const double ratio = static_cast<double>(peak) / static_cast<double>(weights.kept_bytes());
  fmt::print(stderr, "{} bytes kept, {} at the peak: {:.3f}\n", weights.kept_bytes(), peak, ratio);
  std::_Exit(ratio >= bounds.least && ratio <= bounds.most ? 0 : 1);
}

// Every tensor shows the same random numbers from its own place on.
void write_large_model(const std::filesystem::path& file) {
  const Architecture a = large_architecture();
  constexpr int64_t kSpare = 4096;
  Tensor numbers = at::empty({a.vocab_size * a.hidden_size + kSpare}, at::kFloat);
  fill_uniform(numbers, 1.0, 7, 0);
  numbers = numbers.to(at::kBFloat16);
  const std::vector<ExpectedTensor> expected = expected_tensors(a);
  std::vector<SafetensorsWriter::Declaration> declarations;
  for (const ExpectedTensor& tensor : expected) {
    declarations.push_back({tensor.name, DType::kBF16, tensor.shape});
  }
  SafetensorsWriter writer(file, declarations, {});
  for (size_t i = 0; i < expected.size(); ++i) {
    const auto begin = static_cast<int64_t>(i * 31) % kSpare;
    const int64_t end = begin + shape_elements(expected[i].shape);
    writer.write_next(tensor_bytes(numbers.slice(0, begin, end)));
  }
  writer.finish();
}

// The model is written once; the processes that the tests start find it by the variable.
class BaseWeightsMemoryDeathTest : public ::testing::TestWithParam<MemoryBounds> {
 protected:
  static void SetUpTestSuite() {
    if (std::getenv(kFolderVariable) != nullptr) return;
    folder_ = std::make_unique<testing::TempFolder>();
    write_large_model(*folder_ / "model.safetensors");
    ::setenv(kFolderVariable, folder_->path().c_str(), 1);
  }
  static void TearDownTestSuite() {
    if (folder_ == nullptr) return;
    ::unsetenv(kFolderVariable);
    folder_.reset();
  }
  static std::unique_ptr<testing::TempFolder> folder_;
};
std::unique_ptr<testing::TempFolder> BaseWeightsMemoryDeathTest::folder_;

TEST_P(BaseWeightsMemoryDeathTest, PeakIsNearTheBytesKept) {
#ifdef __SANITIZE_ADDRESS__
  GTEST_SKIP() << "the sanitizer takes memory of its own";
#endif
  GTEST_FLAG_SET(death_test_style, "threadsafe");
  EXPECT_EXIT(load_and_exit(std::getenv(kFolderVariable), GetParam()), ::testing::ExitedWithCode(0),
              "bytes kept");
}

// In fp32 every byte kept is a converted copy. In bf16, as stored, the columns are copies, a
// quarter of the bytes; the rest is mapped and not touched by loading it. Quantised, what is wide
// is the embedding and the norms, mapped as they are; a quarter of the columns is read four times
// as wide as it is kept, through a buffer, and leaves nothing.
INSTANTIATE_TEST_SUITE_P(
    Types, BaseWeightsMemoryDeathTest,
    ::testing::Values(MemoryBounds{at::kFloat, 0.97, 1.15}, MemoryBounds{at::kBFloat16, 0.25, 0.45},
                      MemoryBounds{at::kBFloat16, 0.6, 1.05, BlockFormat::kInt8},
                      MemoryBounds{at::kBFloat16, 0.5, 1.05, BlockFormat::kNf4}),
    [](const auto& bounds) {
      const auto& linears = bounds.param.linears;
      return std::string(at::toString(bounds.param.type)) + (!linears ? ""
                                                             : *linears == BlockFormat::kInt8
                                                                 ? "Int8"
                                                                 : "Nf4");
    });

}  // namespace
}  // namespace molora
