#include "model/dora.h"

#include <ATen/core/grad_mode.h>
#include <ATen/record_function.h>

#include "base/check.h"
#include "base/mutation.h"
#include "parallel/tensor_collectives.h"
#include "tensor/blockwise_quantization.h"

namespace molora {

namespace {

// Sums of squares of the rows of a frozen weight: [outputs] of `type`.
Tensor row_squares(const FrozenLinear& base, at::ScalarType type) {
  const Tensor weight_OD =
      base.quantized_OD ? dequantize(*base.quantized_OD, type) : base.weight_OD;
  return at::linalg_vector_norm(weight_OD, 2.0, {1}, /*keepdim=*/false, type).square();
}

}  // namespace

Tensor dora_norms(const FrozenLinear& base, const LinearAdapter& adapter, Communicator* tp) {
  const at::NoGradGuard no_grad;
  MOLORA_CHECK(adapter.lora_A.size(0) == 1, "{}: DoRA is of a plain LoRA", adapter.path);
  const Tensor a_rD = adapter.lora_A.detach()[0];
  const Tensor b_rO = adapter.lora_B.detach()[0];
  const at::ScalarType type = a_rD.scalar_type();
  const double s = adapter.spec.scale;
  FrozenLinear without_bias = base;
  without_bias.bias_O.reset();
  const at::ScalarType base_type = base.quantized_OD ? type : base.weight_OD.scalar_type();
  const Tensor aw_rO = frozen_product(a_rD.to(base_type), without_bias).to(type);
  const Tensor gram_rr = at::mm(a_rD, a_rD.t());
  Tensor square_O = row_squares(base, type) + (b_rO * aw_rO).sum(0) * (2.0 * s) +
                    (b_rO * at::mm(gram_rr, b_rO)).sum(0) * (s * s);
  if (tp != nullptr && !MOLORA_MUTANT(kDoraNormOfOwnColumns))
    square_O = all_reduce_sum(*tp, square_O);
  return square_O.clamp_min(0.0).sqrt();
}

Tensor with_magnitude(const Tensor& sum_TO, const FrozenLinear& base, const LinearAdapter& adapter,
                      Communicator* tp) {
  RECORD_FUNCTION("molora::dora", {});
  const Tensor factor_O = adapter.magnitude / dora_norms(base, adapter, tp);
  const Tensor out_TO = sum_TO * factor_O.to(sum_TO.scalar_type());
  return base.bias_O.defined() ? out_TO + base.bias_O : out_TO;
}

}  // namespace molora
