#include "model/stored_tensor.h"

#include <algorithm>
#include <vector>

#include <ATen/Parallel.h>
#include <gtest/gtest.h>

#include "base/error.h"
#include "support/expect_throw.h"
#include "support/golden_folder.h"
#include "support/stored_model.h"
#include "support/temp_folder.h"

namespace molora {
namespace {

// A tensor in a file of its own, behind a tensor of `bytes_before` bytes.
class OneTensor {
 public:
  explicit OneTensor(const Tensor& tensor, int64_t bytes_before = 0) : whole(tensor) {
    const auto path = folder_ / "x.safetensors";
    testing::write_tensors(path, {{"a", at::zeros({bytes_before}, at::kByte)}, {"x", tensor}});
    stored.file = std::make_shared<const SafetensorsFile>(path);
    stored.entry = stored.file->at("x");
  }
  // Whether the box in `type` is what slicing the converted tensor gives.
  bool loads_right(const TensorBox& box, at::ScalarType type) const {
    Tensor expected = whole.to(type);
    for (size_t dim = 0; dim < box.shape.size(); ++dim) {
      expected = expected.narrow(static_cast<int64_t>(dim), box.offset[dim], box.shape[dim]);
    }
    const Tensor loaded = load_box(stored, box, type, buffer_);
    return loaded.is_contiguous() && loaded.scalar_type() == type && at::equal(loaded, expected);
  }

  Tensor whole;
  StoredTensor stored;

 private:
  testing::TempFolder folder_;
  ReadBuffer buffer_;
};

Tensor numbers(const Shape& shape, at::ScalarType type) {
  Tensor tensor = at::empty(shape, at::kFloat);
  fill_uniform(tensor, 1.0, 3, 0);
  return tensor.to(type);
}

void expect_all_types(const OneTensor& tensor, const TensorBox& box) {
  for (const at::ScalarType type : {at::kFloat, at::kHalf, at::kBFloat16, at::kDouble}) {
    EXPECT_TRUE(tensor.loads_right(box, type))
        << at::toString(type) << " " << shape_text(box.shape) << " from " << shape_text(box.offset);
  }
}

TEST(StoredTensor, AnyBoxIsTheSliceOfTheConvertedTensor) {
  for (const at::ScalarType stored : {at::kFloat, at::kHalf, at::kBFloat16, at::kDouble}) {
    const OneTensor matrix(numbers({7, 5}, stored));
    for (const TensorBox& box : std::vector<TensorBox>{{{0, 0}, {7, 5}},
                                                       {{2, 0}, {3, 5}},
                                                       {{0, 1}, {7, 2}},
                                                       {{6, 4}, {1, 1}},
                                                       {{1, 2}, {4, 3}},
                                                       {{3, 1}, {1, 4}},
                                                       {{7, 0}, {0, 5}},
                                                       {{0, 5}, {7, 0}}}) {
      expect_all_types(matrix, box);
    }
    const OneTensor vector(numbers({9}, stored));
    for (const TensorBox& box : std::vector<TensorBox>{{{0}, {9}}, {{4}, {5}}, {{9}, {0}}}) {
      expect_all_types(vector, box);
    }
  }
}

TEST(StoredTensor, BytesThatAreNotAlignedAreReadRight) {
  const OneTensor tensor(numbers({7, 5}, at::kFloat), 2);
  ASSERT_EQ(tensor.stored.entry.offset % 4, 2u);
  expect_all_types(tensor, {{2, 0}, {3, 5}});
  expect_all_types(tensor, {{0, 1}, {7, 2}});
}

// A block of fp32 has 2^16 elements: the pieces are longer, shorter, and one piece of several
// blocks.
TEST(StoredTensor, PiecesNeedNotFitTheBlocksOfAConversion) {
  const OneTensor wide(numbers({2, 2200001}, at::kFloat));
  for (const TensorBox& box :
       std::vector<TensorBox>{{{0, 3}, {2, 1100003}}, {{0, 0}, {2, 2200001}}}) {
    EXPECT_TRUE(wide.loads_right(box, at::kBFloat16));
  }
  const OneTensor narrow(numbers({700001, 3}, at::kFloat));
  EXPECT_TRUE(narrow.loads_right({{0, 1}, {700001, 2}}, at::kBFloat16));
}

TEST(StoredTensor, BlocksAreTheBytesInOrder) {
  const OneTensor tensor(numbers({2200001}, at::kFloat));
  std::vector<std::byte> read;
  std::vector<size_t> sizes;
  read_blocks(tensor.stored, ReadBuffer(), [&](std::span<const std::byte> block) {
    read.insert(read.end(), block.begin(), block.end());
    sizes.push_back(block.size());
  });
  const auto expected = tensor_bytes(tensor.whole);
  EXPECT_TRUE(std::equal(read.begin(), read.end(), expected.begin(), expected.end()));
  constexpr size_t kBlock = ReadBuffer::kBytes;
  std::vector<size_t> expected_sizes(8800004 / kBlock, kBlock);
  expected_sizes.push_back(8800004 % kBlock);
  EXPECT_EQ(sizes, expected_sizes);
}

TEST(OnThreads, EveryIndexIsWorkedOnOnceWhateverTheThreads) {
  const int threads = at::get_num_threads();
  for (const int of : {1, 3, 8}) {
    at::set_num_threads(of);
    for (const size_t count : {0U, 1U, 2U, 50U}) {
      std::vector<int> calls(count);
      for_each_on_threads(count, [&](size_t i, const ReadBuffer&) { ++calls[i]; });
      EXPECT_EQ(calls, std::vector<int>(count, 1));
    }
  }
  at::set_num_threads(threads);
}

TEST(OnThreads, WhatACallThrowsComesOut) {
  const auto work = [](size_t i, const ReadBuffer&) {
    if (i == 7) throw DataError("the seventh is odd");
  };
  EXPECT_THROW_WITH(for_each_on_threads(20, work), DataError, "the seventh is odd");
}

TEST(StoredTensor, BoxOutsideTheTensorIsRefused) {
  const OneTensor tensor(numbers({7, 5}, at::kFloat));
  const ReadBuffer buffer;
  const auto load = [&](const TensorBox& box) {
    (void)load_box(tensor.stored, box, at::kFloat, buffer);
  };
  EXPECT_THROW_WITH(load({{0, 3}, {7, 3}}), InternalError, "dim 1: 3 from 3 in 5");
  EXPECT_THROW_WITH(load({{-1, 0}, {7, 5}}), InternalError, "dim 0: 7 from -1 in 7");
  EXPECT_THROW_WITH(load({{0}, {7}}), InternalError, "[7] from [0] in [7, 5]");
  EXPECT_THROW_WITH((void)buffer.elements(1 << 20, at::kDouble), InternalError, "8388608 bytes");
}

TEST(StoredTensor, ErrorNamesFileAndTensor) {
  const OneTensor tensor(numbers({2}, at::kFloat));
  EXPECT_THROW_WITH(throw_data_error(tensor.stored, "is odd"), DataError,
                    "x.safetensors: tensor x: is odd");
}

TEST(StoredTensor, RowsOfABoxComeInOrderAsStored) {
  // 4 MiB hold 1,398 rows of 1,500 bytes and 2,796 of 750.
  const OneTensor matrix(numbers({3001, 750}, at::kBFloat16));
  const ReadBuffer buffer;
  for (const TensorBox& box : std::vector<TensorBox>{{{0, 0}, {3001, 750}},
                                                     {{5, 0}, {2000, 750}},
                                                     {{1, 100}, {3000, 375}},
                                                     {{7, 3}, {0, 9}}}) {
    std::vector<Tensor> parts = {at::empty({0, box.shape[1]}, at::kBFloat16)};
    int64_t next = 0;
    read_rows(matrix.stored, box, buffer, [&](int64_t first, const Tensor& rows) {
      EXPECT_EQ(first, next);
      next += rows.size(0);
      parts.push_back(rows.clone());
    });
    EXPECT_EQ(next, box.shape[0]);
    EXPECT_TRUE(at::equal(at::cat(parts, 0), matrix.whole.narrow(0, box.offset[0], box.shape[0])
                                                 .narrow(1, box.offset[1], box.shape[1])));
  }
}

TEST(StoredTensor, RowsOfAVectorAndRowsWiderThanTheBufferAreRefused) {
  const ReadBuffer buffer;
  const auto ignore = [](int64_t, const Tensor&) {};
  const OneTensor vector(numbers({9}, at::kFloat));
  EXPECT_THROW_WITH(read_rows(vector.stored, {{0}, {9}}, buffer, ignore), InternalError,
                    "dims of x");
  const OneTensor wide(numbers({1, (1 << 20) + 1}, at::kFloat));
  EXPECT_THROW_WITH(read_rows(wide.stored, {{0, 0}, {1, (1 << 20) + 1}}, buffer, ignore),
                    InternalError, "a row of 4194308 bytes");
}

}  // namespace
}  // namespace molora
