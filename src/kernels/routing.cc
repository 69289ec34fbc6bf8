#include "kernels/routing.h"

#include <cmath>

#include <ATen/core/grad_mode.h>
#include <ATen/record_function.h>
#include <torch/csrc/autograd/custom_function.h>

#include "base/check.h"
#include "kernels/bodies/router_body.h"
#include "kernels/bodies/router_statistics_body.h"
#include "kernels/host/run_loop.h"
#include "kernels/kernel_choice.h"
#include "kernels/start_kernel.h"

namespace molora {

namespace {

using torch::autograd::AutogradContext;
using torch::autograd::variable_list;

// What a logit takes (comparisons for each choice, exponentials), in the simple numbers that
// run_loop() counts.
constexpr int64_t kWorkOfLogit = 8;

// The sizes as the kernels take them.
struct RouterShape {
  int64_t num_tokens;
  int num_experts;
  int experts_per_token;
};
RouterShape router_shape(const Tensor& logits_TE, int64_t k) {
  const int64_t num_experts = logits_TE.size(1);
  MOLORA_CHECK(num_experts < kNoExpert && k >= 1 && k <= num_experts, "{} of {} experts", k,
               num_experts);
  return {logits_TE.size(0), static_cast<int>(num_experts), static_cast<int>(k)};
}

// The loops write where a choice says; kernels of a GPU look at it themselves.
void check_choice(const Tensor& chosen, const RouterShape& shape) {
  const auto* experts = kernel_data<int64_t>(chosen);
  for (int64_t i = 0; i < chosen.numel(); ++i) {
    MOLORA_CHECK(experts[i] >= 0 && experts[i] < shape.num_experts, "expert {} of {}", experts[i],
                 shape.num_experts);
  }
}

template <typename Body>
RowGroups<Body::kThreads> token_groups(const RouterShape& shape) {
  return RowGroups<Body::kThreads>::for_columns(shape.num_experts, kWarpLanes);
}

Tensor fused_choice(const Tensor& logits_TE, int64_t k) {
  const Tensor logits = logits_TE.detach().contiguous();
  const RouterShape shape = router_shape(logits, k);
  Tensor chosen_TK = at::empty({shape.num_tokens, k}, logits.options().dtype(at::kLong));
  for_wide_type(logits.scalar_type(), [&](auto tag) {
    using Number = typename decltype(tag)::Type;
    if (host_kernels_wanted(logits)) {
      run_loop(ChooseLoop<Number>{kernel_data<Number>(logits), kernel_data<int64_t>(chosen_TK),
                                  shape.num_experts, shape.experts_per_token},
               shape.num_tokens, kWorkOfLogit * shape.num_experts);
      return;
    }
    using Body = ChooseExperts<Number>;
    start_kernel(
        Body{kernel_data<Number>(logits), kernel_data<int64_t>(chosen_TK), shape.num_tokens,
             shape.num_experts, shape.experts_per_token, token_groups<Body>(shape)},
        logits.device());
  });
  return chosen_TK;
}

Tensor fused_weights(const Tensor& logits, const Tensor& chosen, RouterGate gate) {
  const RouterShape shape = router_shape(logits, chosen.size(1));
  Tensor weights = at::empty_like(logits);
  for_wide_type(logits.scalar_type(), [&](auto tag) {
    using Number = typename decltype(tag)::Type;
    if (host_kernels_wanted(logits)) {
      check_choice(chosen, shape);
      run_loop(GateWeightsLoop<Number>{kernel_data<Number>(logits), kernel_data<int64_t>(chosen),
                                       kernel_data<Number>(weights), shape.num_experts,
                                       shape.experts_per_token, gate},
               shape.num_tokens, kWorkOfLogit * shape.num_experts);
      return;
    }
    using Body = GateWeights<Number>;
    start_kernel(Body{kernel_data<Number>(logits), kernel_data<int64_t>(chosen),
                      kernel_data<Number>(weights), shape.num_tokens, shape.num_experts,
                      shape.experts_per_token, gate, token_groups<Body>(shape)},
                 logits.device());
  });
  return weights;
}

Tensor fused_weights_gradient(const Tensor& logits, const Tensor& weights, const Tensor& d_weights,
                              RouterGate gate) {
  const RouterShape shape = router_shape(logits, 1);
  Tensor d_logits = at::empty_like(logits);
  for_wide_type(logits.scalar_type(), [&](auto tag) {
    using Number = typename decltype(tag)::Type;
    if (host_kernels_wanted(logits)) {
      run_loop(
          GateWeightsBackwardLoop<Number>{kernel_data<Number>(logits), kernel_data<Number>(weights),
                                          kernel_data<Number>(d_weights),
                                          kernel_data<Number>(d_logits), shape.num_experts, gate},
          shape.num_tokens, kWorkOfLogit * shape.num_experts);
      return;
    }
    using Body = GateWeightsBackward<Number>;
    start_kernel(Body{kernel_data<Number>(logits), kernel_data<Number>(weights),
                      kernel_data<Number>(d_weights), kernel_data<Number>(d_logits),
                      shape.num_tokens, shape.num_experts, gate, token_groups<Body>(shape)},
                 logits.device());
  });
  return d_logits;
}

class FusedGateWeights : public torch::autograd::Function<FusedGateWeights> {
 public:
  static Tensor forward(AutogradContext* context, const Tensor& logits_TE, const Tensor& chosen_TK,
                        int64_t gate_number) {
    RECORD_FUNCTION("molora::gate_weights", c10::ArrayRef<const c10::IValue>{});
    const Tensor logits = logits_TE.contiguous();
    Tensor weights =
        fused_weights(logits, chosen_TK.contiguous(), static_cast<RouterGate>(gate_number));
    context->save_for_backward({logits, weights});
    context->saved_data["gate"] = gate_number;
    return weights;
  }

  static variable_list backward(AutogradContext* context, variable_list gradients) {
    RECORD_FUNCTION("molora::gate_weights_backward", c10::ArrayRef<const c10::IValue>{});
    const auto saved = context->get_saved_variables();
    const auto gate = static_cast<RouterGate>(context->saved_data["gate"].toInt());
    return {fused_weights_gradient(saved[0], saved[1], gradients[0].contiguous(), gate), Tensor(),
            Tensor()};
  }
};

void add_fused_statistics(const StatisticsOfRouter& sums, const Tensor& logits_TE,
                          const Tensor& chosen_TK) {
  const Tensor logits = logits_TE.detach().contiguous();
  const Tensor chosen = chosen_TK.contiguous();
  const RouterShape shape = router_shape(logits, chosen.size(1));
  const int64_t chunks = num_statistics_chunks(shape.num_tokens);
  const Tensor chunk_sums =
      at::empty({chunks, shape.num_experts + 1}, logits.options().dtype(at::kDouble));
  const Tensor chunk_counts =
      at::empty({chunks, shape.num_experts}, logits.options().dtype(at::kLong));
  for_wide_type(logits.scalar_type(), [&](auto tag) {
    using Number = typename decltype(tag)::Type;
    start_kernel(SumTokensOfChunk<Number>{kernel_data<Number>(logits), kernel_data<int64_t>(chosen),
                                          kernel_data<double>(chunk_sums),
                                          kernel_data<int64_t>(chunk_counts), shape.num_tokens,
                                          shape.num_experts, shape.experts_per_token},
                 logits.device());
  });
  start_kernel(AddChunks{kernel_data<double>(chunk_sums), kernel_data<int64_t>(chunk_counts),
                         kernel_data<int64_t>(sums.counts_E), kernel_data<double>(sums.prob_sum_E),
                         kernel_data<double>(sums.z_sum), chunks, shape.num_experts},
               logits.device());
}

// Of logsumexp(z)^2, in the order of tokens.
double sum_of_z(const Tensor& largest_T, const Tensor& exp_sum_T) {
  const auto* largest = kernel_data<double>(largest_T);
  const auto* exp_sum = kernel_data<double>(exp_sum_T);
  double sum = 0.0;
  for (int64_t token = 0; token < largest_T.numel(); ++token) {
    const double z = largest[token] + std::log(exp_sum[token]);
    sum += z * z;
  }
  return sum;
}

void add_host_statistics(const StatisticsOfRouter& sums, const Tensor& logits_TE,
                         const Tensor& chosen_TK) {
  const Tensor logits = logits_TE.detach().contiguous();
  const Tensor chosen = chosen_TK.contiguous();
  const RouterShape shape = router_shape(logits, chosen.size(1));
  check_choice(chosen, shape);
  const int64_t chunks = divide_up(shape.num_tokens, kStatisticsChunkOfLoop);
  const auto doubles = logits.options().dtype(at::kDouble);
  const Tensor shares = at::empty({chunks, shape.num_experts}, doubles);
  const Tensor scratch = at::empty_like(shares);
  const Tensor counts = at::empty({chunks, shape.num_experts}, doubles.dtype(at::kLong));
  const Tensor largest_T = at::empty({shape.num_tokens}, doubles);
  const Tensor exp_sum_T = at::empty_like(largest_T);
  for_wide_type(logits.scalar_type(), [&](auto tag) {
    using Number = typename decltype(tag)::Type;
    run_loop(StatisticsLoop<Number>{kernel_data<Number>(logits), kernel_data<int64_t>(chosen),
                                    kernel_data<double>(shares), kernel_data<double>(scratch),
                                    kernel_data<double>(largest_T), kernel_data<double>(exp_sum_T),
                                    kernel_data<int64_t>(counts), shape.num_tokens,
                                    shape.num_experts, shape.experts_per_token},
             chunks, kWorkOfLogit * kStatisticsChunkOfLoop * shape.num_experts);
  });
  for (int64_t chunk = 0; chunk < chunks; ++chunk) {
    Tensor(sums.counts_E).add_(counts[chunk]);
    Tensor(sums.prob_sum_E).add_(shares[chunk]);
  }
  Tensor(sums.z_sum).add_(sum_of_z(largest_T, exp_sum_T));
}

}  // namespace

Tensor choose_experts(const Tensor& logits_TE, int64_t k) {
  if (fused_kernels_wanted(logits_TE) || host_kernels_wanted(logits_TE)) {
    return fused_choice(logits_TE, k);
  }
  const auto [sorted, order] =
      at::sort(logits_TE.detach(), /*stable=*/true, /*dim=*/1, /*descending=*/true);
  return order.slice(1, 0, k).contiguous();
}

Tensor gate_weights(const Tensor& logits_TE, const Tensor& chosen_TK, RouterGate gate) {
  MOLORA_CHECK_EQ(chosen_TK.size(0), logits_TE.size(0), "tokens of the choice");
  if (fused_kernels_wanted(logits_TE) || host_kernels_wanted(logits_TE)) {
    return FusedGateWeights::apply(logits_TE, chosen_TK, static_cast<int64_t>(gate));
  }
  if (gate == RouterGate::kDenseSoftmax) return at::softmax(logits_TE, 1);
  const Tensor kept_TK = gate == RouterGate::kTopkSoftmax
                             ? at::softmax(logits_TE.gather(1, chosen_TK), 1)
                             : at::softmax(logits_TE, 1).gather(1, chosen_TK);
  return at::zeros_like(logits_TE).scatter(1, chosen_TK, kept_TK);
}

TopKRouting route_top_k(const Tensor& logits_TE, int64_t k, RouterGate gate) {
  const Tensor chosen_TK = choose_experts(logits_TE, k);
  return {chosen_TK, gate_weights(logits_TE, chosen_TK, gate)};
}

void add_router_statistics(const StatisticsOfRouter& sums, const Tensor& logits_TE,
                           const Tensor& chosen_TK) {
  const at::NoGradGuard no_grad;
  MOLORA_CHECK_EQ(sums.counts_E.size(0), logits_TE.size(1));
  if (fused_kernels_wanted(logits_TE)) {
    add_fused_statistics(sums, logits_TE, chosen_TK);
    return;
  }
  if (host_kernels_wanted(logits_TE)) {
    add_host_statistics(sums, logits_TE, chosen_TK);
    return;
  }
  const Tensor is_chosen_TE = at::zeros_like(logits_TE, at::kLong).scatter_(1, chosen_TK, 1);
  const Tensor logits = logits_TE.detach().to(at::kDouble);
  Tensor(sums.counts_E).add_(is_chosen_TE.sum(0));
  Tensor(sums.prob_sum_E).add_(at::softmax(logits, 1).sum(0));
  Tensor(sums.z_sum).add_(at::logsumexp(logits, 1).square().sum());
}

}  // namespace molora
