#include "tensor/philox_tensor.h"

#include <algorithm>
#include <cmath>
#include <numbers>

#include <ATen/Dispatch.h>
#include <ATen/Parallel.h>

#include "base/check.h"
#include "base/philox.h"

namespace molora {

namespace {

// The words of block `block` of the stream: those of elements 4 * block to 4 * block + 3.
PhiloxBlock stream_block(uint64_t key, uint64_t block) {
  return philox_4x32_10(key,
                        {static_cast<uint32_t>(block), static_cast<uint32_t>(block >> 32), 0, 0});
}

template <typename Number>
Number uniform_number(uint32_t word, double bound) {
  return static_cast<Number>((2.0 * philox_unit(word) - 1.0) * bound);
}

// Elements [first, first + count) of the stream. A block is computed once for its four elements.
template <typename Number>
void fill_elements(Number* data, int64_t count, double bound, uint64_t key, uint64_t first) {
  int64_t i = 0;
  while (i < count) {
    const uint64_t index = first + static_cast<uint64_t>(i);
    const PhiloxBlock words = stream_block(key, index / 4);
    const auto begin = static_cast<int64_t>(index % 4);
    const int64_t end = std::min<int64_t>(4, begin + count - i);
    for (int64_t word = begin; word < end; ++word) {
      data[i++] = uniform_number<Number>(words[static_cast<size_t>(word)], bound);
    }
  }
}

// Element `index` of the stream of normal numbers: the cosine or the sine of a pair of words.
double normal_number(uint64_t key, uint64_t index) {
  const PhiloxBlock words = stream_block(key, index / 4);
  const size_t pair = index % 4 / 2 * 2;
  // In (0, 1]: the logarithm of 0 is none.
  const double radius = std::sqrt(-2.0 * std::log(1.0 - philox_unit(words[pair])));
  const double angle = 2.0 * std::numbers::pi * philox_unit(words[pair + 1]);
  return radius * (index % 2 == 0 ? std::cos(angle) : std::sin(angle));
}

// The channels [channels.begin, channels.end) of one token's mask. A block of four words serves
// four neighbouring channels.
template <typename Number>
void fill_mask_row(Number* row, const DropoutChannels& channels, uint64_t sample, uint64_t position,
                   uint64_t key, uint32_t drop_below, Number kept) {
  for (int64_t block = channels.begin / 4; 4 * block < channels.end; ++block) {
    const PhiloxBlock words =
        philox_4x32_10(key, {static_cast<uint32_t>(block), static_cast<uint32_t>(position),
                             static_cast<uint32_t>(sample), static_cast<uint32_t>(sample >> 32)});
    const int64_t first = std::max(4 * block, channels.begin);
    const int64_t last = std::min(4 * block + 4, channels.end);
    for (int64_t channel = first; channel < last; ++channel) {
      row[channel - channels.begin] =
          words[static_cast<size_t>(channel % 4)] < drop_below ? Number{0} : kept;
    }
  }
}

}  // namespace

void fill_uniform(Tensor& tensor, double bound, uint64_t key, uint64_t first_index) {
  MOLORA_CHECK(tensor.is_contiguous() && tensor.is_cpu());
  AT_DISPATCH_FLOATING_TYPES(tensor.scalar_type(), "fill_uniform", [&] {
    auto* data = tensor.data_ptr<scalar_t>();
    at::parallel_for(0, tensor.numel(), 4096, [&](int64_t begin, int64_t end) {
      fill_elements(data + begin, end - begin, bound, key,
                    first_index + static_cast<uint64_t>(begin));
    });
  });
}

void fill_normal(Tensor& tensor, double deviation, uint64_t key, uint64_t first_index) {
  MOLORA_CHECK(tensor.is_contiguous() && tensor.is_cpu());
  AT_DISPATCH_FLOATING_TYPES(tensor.scalar_type(), "fill_normal", [&] {
    auto* data = tensor.data_ptr<scalar_t>();
    at::parallel_for(0, tensor.numel(), 1024, [&](int64_t begin, int64_t end) {
      for (int64_t i = begin; i < end; ++i) {
        data[i] = static_cast<scalar_t>(deviation *
                                        normal_number(key, first_index + static_cast<uint64_t>(i)));
      }
    });
  });
}

Tensor dropout_mask(const Tensor& sample_T, const Tensor& position_T,
                    const DropoutChannels& channels, const Dropout& dropout, at::ScalarType dtype) {
  const double p = dropout.p;
  MOLORA_CHECK(p >= 0 && p < 1, "p {}", p);
  MOLORA_CHECK_EQ(sample_T.size(0), position_T.size(0));
  const int64_t num_tokens = sample_T.size(0);
  const int64_t width = channels.end - channels.begin;
  Tensor mask = at::empty({num_tokens, width}, at::TensorOptions().dtype(dtype));
  const auto* sample = sample_T.const_data_ptr<int64_t>();
  const auto* position = position_T.const_data_ptr<int64_t>();
  const auto drop_below = static_cast<uint32_t>(std::llround(p * 4294967296.0));
  AT_DISPATCH_FLOATING_TYPES_AND2(at::kBFloat16, at::kHalf, dtype, "dropout_mask", [&] {
    auto* data = mask.data_ptr<scalar_t>();
    const auto kept = static_cast<scalar_t>(1.0 / (1.0 - p));
    at::parallel_for(0, num_tokens, 16, [&](int64_t begin, int64_t end) {
      for (int64_t t = begin; t < end; ++t) {
        fill_mask_row(data + t * width, channels, static_cast<uint64_t>(sample[t]),
                      static_cast<uint64_t>(position[t]), dropout.key, drop_below, kept);
      }
    });
  });
  return mask;
}

Tensor gumbel_of_tokens(const Tensor& samples_T, const Tensor& positions_T, int64_t count,
                        uint64_t key, at::ScalarType dtype) {
  MOLORA_CHECK(samples_T.is_cpu() && positions_T.is_cpu());
  MOLORA_CHECK_EQ(samples_T.size(0), positions_T.size(0));
  const Tensor samples = samples_T.contiguous();
  const Tensor positions = positions_T.contiguous();
  Tensor numbers = at::empty({samples.size(0), count}, at::kDouble);
  const auto* sample = samples.const_data_ptr<int64_t>();
  const auto* position = positions.const_data_ptr<int64_t>();
  auto* data = numbers.data_ptr<double>();
  at::parallel_for(0, samples.size(0), 64, [&](int64_t begin, int64_t end) {
    for (int64_t t = begin; t < end; ++t) {
      for (int64_t c = 0; c < count; ++c) {
        const auto s = static_cast<uint64_t>(sample[t]);
        const PhiloxBlock words =
            philox_4x32_10(key, {static_cast<uint32_t>(c / 4), static_cast<uint32_t>(position[t]),
                                 static_cast<uint32_t>(s), static_cast<uint32_t>(s >> 32)});
        // In the middle of its 32-bit cell: neither 0 nor 1.
        const double u = philox_unit(words[static_cast<size_t>(c % 4)]) + 0.5 / 4294967296.0;
        data[t * count + c] = -std::log(-std::log(u));
      }
    }
  });
  return numbers.to(dtype);
}

}  // namespace molora
