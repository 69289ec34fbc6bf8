#include "tensor/tensor_bytes.h"

#include <gtest/gtest.h>

#include "base/error.h"
#include "support/temp_folder.h"

namespace molora {
namespace {

using testing::TempFolder;

std::shared_ptr<const SafetensorsFile> write_and_map(const TempFolder& folder) {
  const auto path = folder / "t.safetensors";
  SafetensorsWriter writer(
      path, {{"a", DType::kF32, {2, 2}}, {"byte", DType::kU8, {1}}, {"odd", DType::kF32, {1}}}, {});
  const Tensor a = at::arange(4, at::kFloat);
  const Tensor byte = at::ones(1, at::kByte);
  const Tensor odd = at::full(1, 7.0f);
  for (const Tensor& t : {a, byte, odd}) writer.write_next(tensor_bytes(t));
  writer.finish();
  return std::make_shared<const SafetensorsFile>(path);
}

TEST(MappedTensor, ReadsTheFileInPlace) {
  const TempFolder folder;
  const auto file = write_and_map(folder);
  const Tensor a = mapped_tensor(file, file->at("a"));
  EXPECT_EQ(a.const_data_ptr(), static_cast<const void*>(file->bytes(file->at("a")).data()));
  EXPECT_TRUE(a.equal(at::arange(4, at::kFloat).view({2, 2})));
}

TEST(MappedTensor, KeepsTheFileMapped) {
  const TempFolder folder;
  auto file = write_and_map(folder);
  const Tensor a = mapped_tensor(file, file->at("a"));
  file.reset();
  EXPECT_EQ(a[1][1].item<float>(), 3.0f);
}

TEST(MappedTensor, CopiesWhatIsNotAligned) {
  const TempFolder folder;
  const auto file = write_and_map(folder);
  const Tensor odd = mapped_tensor(file, file->at("odd"));
  EXPECT_NE(odd.const_data_ptr(), static_cast<const void*>(file->bytes(file->at("odd")).data()));
  EXPECT_EQ(odd.item<float>(), 7.0f);
}

TEST(TensorBytes, TypesMapBothWays) {
  for (const auto type : {at::kDouble, at::kFloat, at::kHalf, at::kBFloat16, at::kLong, at::kInt,
                          at::kShort, at::kChar, at::kByte, at::kBool}) {
    EXPECT_EQ(scalar_type(stored_dtype(type)), type);
  }
  EXPECT_THROW((void)stored_dtype(at::kComplexFloat), InternalError);
}

TEST(TensorBytes, ViewsThatAreNotContiguousAreRefused) {
  EXPECT_THROW((void)tensor_bytes(at::zeros({2, 2}).t()), InternalError);
}

}  // namespace
}  // namespace molora
