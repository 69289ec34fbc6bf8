// A slice of columns, quantised as it is when a model is read: from the blocks of whole rows.
#pragma once

#include <gtest/gtest.h>

#include "tensor/blockwise_quantization.h"

namespace molora::testing {

inline QuantizedMatrix quantized_slice(const Tensor& whole, BlockFormat format,
                                       const ColumnRange& columns) {
  const ColumnRange read = whole_blocks(format, columns, whole.size(1));
  const QuantizedMatrix slice = empty_quantized(format, whole.size(0), columns);
  EXPECT_FALSE(
      quantize_rows(whole.slice(1, read.begin, read.end()).contiguous(), slice, 0).has_value());
  return slice;
}

}  // namespace molora::testing
