#include "kernels/dropout.h"

#include <array>
#include <cmath>

#include <ATen/record_function.h>
#include <torch/csrc/autograd/custom_function.h>

#include "base/check.h"
#include "kernels/bodies/dropout_body.h"
#include "kernels/host/run_loop.h"
#include "kernels/kernel_choice.h"
#include "kernels/start_kernel.h"

namespace molora {

namespace {

using torch::autograd::AutogradContext;
using torch::autograd::variable_list;

// Words below it are dropped.
uint32_t drop_below(double p) { return static_cast<uint32_t>(std::llround(p * 4294967296.0)); }

struct MaskPlace {
  Tensor samples_T;
  Tensor positions_T;
  DropoutChannels channels;
  Dropout dropout;
};

Tensor multiply_by_mask(const Tensor& x_TC, const MaskPlace& place) {
  const Tensor x = x_TC.contiguous();
  const int64_t width = place.channels.end - place.channels.begin;
  Tensor y = at::empty_like(x);
  for_number_type(x.scalar_type(), [&](auto tag) {
    using Number = typename decltype(tag)::Type;
    using Body = ApplyDropout<Number>;
    const auto exact = static_cast<Wide<Number>>(1.0 / (1.0 - place.dropout.p));
    const Wide<Number> kept = to_wide(round_to<Number>(exact));
    if (host_kernels_wanted(x)) {
      run_loop(DropoutLoop<Number>{kernel_data<Number>(x), kernel_data<Number>(y),
                                   kernel_data<int64_t>(place.samples_T),
                                   kernel_data<int64_t>(place.positions_T), place.channels.begin,
                                   width, place.dropout.key, drop_below(place.dropout.p), kept},
               x.size(0), width);
      return;
    }
    const int64_t blocks = Body::blocks_of(place.channels.begin, width);
    start_kernel(
        Body{kernel_data<Number>(x), kernel_data<Number>(y), kernel_data<int64_t>(place.samples_T),
             kernel_data<int64_t>(place.positions_T), x.size(0), place.channels.begin, width,
             place.dropout.key, drop_below(place.dropout.p), kept,
             RowGroups<Body::kThreads>::for_columns(blocks)},
        x.device());
  });
  return y;
}

class FusedDropout : public torch::autograd::Function<FusedDropout> {
 public:
  static Tensor forward(AutogradContext* context, const Tensor& x_TC, const MaskPlace& place) {
    RECORD_FUNCTION("molora::dropout", c10::ArrayRef<const c10::IValue>{});
    context->save_for_backward({place.samples_T, place.positions_T});
    context->saved_data["begin"] = place.channels.begin;
    context->saved_data["end"] = place.channels.end;
    context->saved_data["p"] = place.dropout.p;
    context->saved_data["key"] = static_cast<int64_t>(place.dropout.key);
    return multiply_by_mask(x_TC, place);
  }

  static variable_list backward(AutogradContext* context, variable_list gradients) {
    RECORD_FUNCTION("molora::dropout_backward", c10::ArrayRef<const c10::IValue>{});
    const auto saved = context->get_saved_variables();
    auto& data = context->saved_data;
    const MaskPlace place = {saved[0],
                             saved[1],
                             {data["begin"].toInt(), data["end"].toInt()},
                             {data["p"].toDouble(), static_cast<uint64_t>(data["key"].toInt())}};
    return {multiply_by_mask(gradients[0], place), Tensor()};
  }
};

// 32-bit words in int64 tensors: products wrap at 64 bits as the unsigned ones do.
constexpr int64_t kWordMask = 0xffffffff;
Tensor low_word(const Tensor& product) { return product.bitwise_and(kWordMask); }
Tensor high_word(const Tensor& product) {
  return product.bitwise_right_shift(at::Scalar(32)).bitwise_and(kWordMask);
}

// philox_4x32_10 of base/philox.h for each element of the four counter words (int64, broadcast).
std::array<Tensor, 4> philox_tensors(uint64_t key, std::array<Tensor, 4> c) {
  constexpr int64_t kMultiplier0 = 0xD2511F53;
  constexpr int64_t kMultiplier1 = 0xCD9E8D57;
  auto key0 = static_cast<uint32_t>(key);
  auto key1 = static_cast<uint32_t>(key >> 32);
  for (int round = 0; round < 10; ++round) {
    const Tensor product0 = c[0] * kMultiplier0;
    const Tensor product1 = c[2] * kMultiplier1;
    c = {high_word(product1).bitwise_xor(c[1]).bitwise_xor(int64_t{key0}), low_word(product1),
         high_word(product0).bitwise_xor(c[3]).bitwise_xor(int64_t{key1}), low_word(product0)};
    key0 += 0x9E3779B9;
    key1 += 0xBB67AE85;
  }
  return c;
}

}  // namespace

Tensor dropout_mask_by_operators(const Tensor& samples_T, const Tensor& positions_T,
                                 const DropoutChannels& channels, const Dropout& dropout,
                                 at::ScalarType dtype) {
  const int64_t first_block = channels.begin / 4;
  const int64_t end_block = (channels.end + 3) / 4;
  const Tensor block_B = low_word(at::arange(first_block, end_block, samples_T.options()));
  const std::array<Tensor, 4> words = philox_tensors(
      dropout.key, {block_B.unsqueeze(0), low_word(positions_T).unsqueeze(1),
                    low_word(samples_T).unsqueeze(1), high_word(samples_T).unsqueeze(1)});
  const Tensor words_TC =
      at::stack(at::broadcast_tensors({words[0], words[1], words[2], words[3]}), 2).flatten(1);
  const int64_t begin = channels.begin - 4 * first_block;
  const Tensor is_kept = words_TC.slice(1, begin, begin + channels.end - channels.begin) >=
                         int64_t{drop_below(dropout.p)};
  return is_kept.to(dtype) * (1.0 / (1.0 - dropout.p));
}

Tensor apply_dropout(const Tensor& x_TC, const Tensor& samples_T, const Tensor& positions_T,
                     const DropoutChannels& channels, const Dropout& dropout) {
  MOLORA_CHECK(dropout.p >= 0 && dropout.p < 1, "p {}", dropout.p);
  MOLORA_CHECK_EQ(x_TC.size(1), channels.end - channels.begin, "channels");
  MOLORA_CHECK(samples_T.size(0) == x_TC.size(0) && positions_T.size(0) == x_TC.size(0),
               "{} tokens, {} samples, {} positions", x_TC.size(0), samples_T.size(0),
               positions_T.size(0));
  if (fused_kernels_wanted(x_TC) || host_kernels_wanted(x_TC)) {
    return FusedDropout::apply(
        x_TC, MaskPlace{samples_T.contiguous(), positions_T.contiguous(), channels, dropout});
  }
  const auto mask = x_TC.is_cpu() ? dropout_mask : dropout_mask_by_operators;
  return x_TC * mask(samples_T, positions_T, channels, dropout, x_TC.scalar_type());
}

}  // namespace molora
