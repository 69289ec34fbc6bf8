#include "kernels/pair_rows.h"

#include <vector>

#include <ATen/core/grad_mode.h>
#include <ATen/record_function.h>
#include <torch/csrc/autograd/custom_function.h>

#include "base/check.h"
#include "kernels/host/run_loop.h"
#include "kernels/start_kernel.h"

namespace molora {

namespace {

using torch::autograd::AutogradContext;
using torch::autograd::variable_list;

// weights_P undefined: 1.
Tensor summed(const Tensor& rows_PC, const Tensor& weights_P, const TokenPairs& pairs) {
  Tensor out_TC = at::empty({pairs.num_tokens(), rows_PC.size(1)}, rows_PC.options());
  for_number_type(rows_PC.scalar_type(), [&](auto tag) {
    using Number = typename decltype(tag)::Type;
    run_loop(
        PairSumLoop<Number>{kernel_data<Number>(rows_PC),
                            weights_P.defined() ? kernel_data<Wide<Number>>(weights_P) : nullptr,
                            pairs.begins_T.const_data_ptr<int64_t>(),
                            pairs.by_token_P.const_data_ptr<int64_t>(), kernel_data<Number>(out_TC),
                            rows_PC.size(1)},
        pairs.num_tokens(), rows_PC.size(1));
  });
  return out_TC;
}

// The index tensors between the two passes.
struct TokenPairsHolder : torch::CustomClassHolder {
  explicit TokenPairsHolder(const TokenPairs& of) : pairs(of) {}
  TokenPairs pairs;
};

const TokenPairs& pairs_of(AutogradContext* context) {
  return c10::static_intrusive_pointer_cast<TokenPairsHolder>(
             context->saved_data["pairs"].toCapsule())
      ->pairs;
}

class SpreadFunction : public torch::autograd::Function<SpreadFunction> {
 public:
  static Tensor forward(AutogradContext* context, const Tensor& x_TC,
                        const c10::intrusive_ptr<TokenPairsHolder>& holder) {
    RECORD_FUNCTION("molora::spread_to_pairs", {});
    context->saved_data["pairs"] = c10::IValue::make_capsule(holder);
    return x_TC.index_select(0, holder->pairs.tokens_P);
  }

  static variable_list backward(AutogradContext* context, variable_list gradients) {
    RECORD_FUNCTION("molora::spread_to_pairs_backward", {});
    return {summed(gradients[0].contiguous(), Tensor(), pairs_of(context)), Tensor()};
  }
};

class SumFunction : public torch::autograd::Function<SumFunction> {
 public:
  static Tensor forward(AutogradContext* context, const Tensor& rows_PC, const Tensor& weights_P,
                        const c10::intrusive_ptr<TokenPairsHolder>& holder) {
    RECORD_FUNCTION("molora::sum_over_pairs", {});
    const Tensor rows = rows_PC.contiguous();
    const Tensor weights = weights_P.contiguous();
    context->save_for_backward({rows, weights});
    context->saved_data["pairs"] = c10::IValue::make_capsule(holder);
    return summed(rows, weights, holder->pairs);
  }

  static variable_list backward(AutogradContext* context, variable_list gradients) {
    RECORD_FUNCTION("molora::sum_over_pairs_backward", {});
    const std::vector<Tensor> saved = context->get_saved_variables();
    const Tensor& rows_PC = saved[0];
    const Tensor& weights_P = saved[1];
    const Tensor d_out_TC = gradients[0].contiguous();
    Tensor d_rows_PC = at::empty_like(rows_PC);
    Tensor d_weights_P = at::empty_like(weights_P);
    for_number_type(rows_PC.scalar_type(), [&](auto tag) {
      using Number = typename decltype(tag)::Type;
      run_loop(
          PairSumBackwardLoop<Number>{kernel_data<Number>(rows_PC),
                                      kernel_data<Wide<Number>>(weights_P),
                                      pairs_of(context).tokens_P.template const_data_ptr<int64_t>(),
                                      kernel_data<Number>(d_out_TC), kernel_data<Number>(d_rows_PC),
                                      kernel_data<Wide<Number>>(d_weights_P), rows_PC.size(1)},
          rows_PC.size(0), rows_PC.size(1));
    });
    return {d_rows_PC, d_weights_P, Tensor()};
  }
};

}  // namespace

TokenPairs pairs_of_tokens(const ExpertRows& rows, int64_t num_tokens) {
  const at::NoGradGuard no_grad;
  const int64_t num_pairs = rows.num_pairs();
  TokenPairs pairs = {rows.tokens_P, at::zeros({num_tokens + 1}, at::kLong),
                      at::empty({num_pairs}, at::kLong)};
  const auto* tokens = rows.tokens_P.const_data_ptr<int64_t>();
  auto* begins = pairs.begins_T.mutable_data_ptr<int64_t>();
  for (int64_t pair = 0; pair < num_pairs; ++pair) ++begins[tokens[pair] + 1];
  for (int64_t token = 0; token < num_tokens; ++token) begins[token + 1] += begins[token];
  std::vector<int64_t> next(begins, begins + num_tokens);
  auto* by_token = pairs.by_token_P.mutable_data_ptr<int64_t>();
  for (int64_t pair = 0; pair < num_pairs; ++pair) {
    by_token[next[static_cast<size_t>(tokens[pair])]++] = pair;
  }
  return pairs;
}

Tensor spread_to_pairs(const Tensor& x_TC, const TokenPairs& pairs) {
  MOLORA_CHECK(x_TC.is_cpu() && x_TC.dim() == 2);
  MOLORA_CHECK_EQ(x_TC.size(0), pairs.num_tokens(), "tokens of the pairs");
  return SpreadFunction::apply(x_TC, c10::make_intrusive<TokenPairsHolder>(pairs));
}

Tensor sum_over_pairs(const Tensor& rows_PC, const Tensor& weights_P, const TokenPairs& pairs) {
  MOLORA_CHECK(rows_PC.is_cpu() && rows_PC.dim() == 2);
  MOLORA_CHECK_EQ(rows_PC.size(0), pairs.tokens_P.size(0), "rows of the pairs");
  MOLORA_CHECK_EQ(weights_P.numel(), pairs.tokens_P.size(0), "weights of the pairs");
  MOLORA_CHECK(weights_P.scalar_type() == wide_type(rows_PC), "weights of type {}",
               at::toString(weights_P.scalar_type()));
  return SumFunction::apply(rows_PC, weights_P, c10::make_intrusive<TokenPairsHolder>(pairs));
}

}  // namespace molora
