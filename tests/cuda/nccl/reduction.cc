#include "reduction.h"

#include <algorithm>
#include <cstdint>
#include <cstring>
#include <type_traits>

#include <cuda_bf16.h>
#include <cuda_fp16.h>
#include <cuda_fp8.h>

namespace molora::fake_nccl {

namespace {

// Small floating types are added as float and rounded after each step.
template <typename T>
using Wide = std::conditional_t<std::is_arithmetic_v<T>, T, float>;

template <typename T>
Wide<T> combine(ncclRedOp_t reduction, Wide<T> a, Wide<T> b) {
  // Integers wrap, as on a GPU.
  if constexpr (std::is_integral_v<T>) {
    const auto wide_a = static_cast<uint64_t>(a);
    const auto wide_b = static_cast<uint64_t>(b);
    if (reduction == ncclSum || reduction == ncclAvg) return static_cast<T>(wide_a + wide_b);
    if (reduction == ncclProd) return static_cast<T>(wide_a * wide_b);
  } else {
    if (reduction == ncclSum || reduction == ncclAvg) return a + b;
    if (reduction == ncclProd) return a * b;
  }
  return reduction == ncclMax ? std::max(a, b) : std::min(a, b);
}

template <typename T>
Wide<T> rounded(Wide<T> value) {
  return static_cast<Wide<T>>(T(value));
}

// Values of all ranks for one element, reduced in the order of the step; clobbers them.
template <typename T>
Wide<T> fold(const ReductionStep& step, std::vector<Wide<T>>& values, size_t element) {
  const size_t ranks = values.size();
  const auto add = [&](Wide<T> a, Wide<T> b) {
    return rounded<T>(combine<T>(step.reduction, a, b));
  };
  if (step.order == ReductionOrder::kTree) {
    for (size_t stride = 1; stride < ranks; stride *= 2) {
      for (size_t i = 0; i + stride < ranks; i += 2 * stride) {
        values[i] = add(values[i], values[i + stride]);
      }
    }
    return values[0];
  }
  size_t first = 0;
  if (step.order == ReductionOrder::kReverse) std::reverse(values.begin(), values.end());
  // A ring cuts the buffer into one block per rank; block b starts its way at the rank behind b.
  if (step.order == ReductionOrder::kRing) {
    first = (element * ranks / std::max<size_t>(step.total, 1) + 1) % ranks;
  }
  Wide<T> sum = values[first];
  for (size_t i = 1; i < ranks; ++i) sum = add(sum, values[(first + i) % ranks]);
  return sum;
}

template <typename T>
void reduce_as(const ReductionStep& step, const std::vector<const std::byte*>& inputs,
               size_t elements, std::byte* out) {
  constexpr bool kIsInteger = std::is_integral_v<T>;
  const bool is_average = step.reduction == ncclAvg;
  const size_t ranks = inputs.size();
  std::vector<Wide<T>> values(ranks);
  for (size_t i = 0; i < elements; ++i) {
    for (size_t rank = 0; rank < ranks; ++rank) {
      T value;
      std::memcpy(&value, inputs[rank] + i * sizeof(T), sizeof(T));
      values[rank] = static_cast<Wide<T>>(value);
      if constexpr (!kIsInteger) {
        const auto share = rounded<T>(Wide<T>(1) / static_cast<Wide<T>>(ranks));
        if (is_average) values[rank] = rounded<T>(values[rank] * share);
      }
    }
    Wide<T> result = fold<T>(step, values, step.first + i);
    if constexpr (kIsInteger) {
      if (is_average) {
        if constexpr (std::is_signed_v<T>) {
          result = static_cast<T>(int64_t{result} / static_cast<int64_t>(ranks));
        } else {
          result = static_cast<T>(result / ranks);
        }
      }
    }
    const T stored = T(result);
    std::memcpy(out + i * sizeof(T), &stored, sizeof(T));
  }
}

}  // namespace

void reduce(const ReductionStep& step, const std::vector<const std::byte*>& inputs, size_t elements,
            std::byte* out) {
  switch (step.type) {
    case ncclInt8:
      return reduce_as<int8_t>(step, inputs, elements, out);
    case ncclUint8:
      return reduce_as<uint8_t>(step, inputs, elements, out);
    case ncclInt32:
      return reduce_as<int32_t>(step, inputs, elements, out);
    case ncclUint32:
      return reduce_as<uint32_t>(step, inputs, elements, out);
    case ncclInt64:
      return reduce_as<int64_t>(step, inputs, elements, out);
    case ncclUint64:
      return reduce_as<uint64_t>(step, inputs, elements, out);
    case ncclFloat16:
      return reduce_as<__half>(step, inputs, elements, out);
    case ncclFloat32:
      return reduce_as<float>(step, inputs, elements, out);
    case ncclFloat64:
      return reduce_as<double>(step, inputs, elements, out);
    case ncclBfloat16:
      return reduce_as<__nv_bfloat16>(step, inputs, elements, out);
    case ncclFloat8e4m3:
      return reduce_as<__nv_fp8_e4m3>(step, inputs, elements, out);
    case ncclFloat8e5m2:
      return reduce_as<__nv_fp8_e5m2>(step, inputs, elements, out);
    case ncclNumTypes:
      break;
  }
}

}  // namespace molora::fake_nccl
