#include "model/grouped_experts.h"

#include <utility>

#include <ATen/core/grad_mode.h>
#include <ATen/record_function.h>
#include <torch/csrc/autograd/custom_function.h>

#include "base/check.h"
#include "kernels/dropout.h"

namespace molora {

namespace {

using torch::autograd::AutogradContext;
using torch::autograd::variable_list;

Tensor dropped(const Tensor& x_TD, const GroupedExperts& experts) {
  return experts.dropout ? under_dropout(x_TD, *experts.dropout) : x_TD;
}

// s * w of each pair: [pairs, 1].
Tensor pair_scales(const GroupedExperts& experts, at::ScalarType type) {
  const Tensor weights_P = experts.weights_TE.reshape({-1}).index_select(0, experts.rows.slots_P);
  return (weights_P.to(type) * experts.scale).unsqueeze(1);
}

// Experts and pairs between the two passes. Tensors of the graph are saved apart.
struct PairsHolder : torch::CustomClassHolder {
  explicit PairsHolder(GroupedExperts of) : experts(std::move(of)) {}
  GroupedExperts experts;
};

class GroupedFunction : public torch::autograd::Function<GroupedFunction> {
 public:
  static Tensor forward(AutogradContext* context, const Tensor& out_TO, const Tensor& x_TD,
                        const Tensor& lora_A, const Tensor& lora_B, const Tensor& weights_TE,
                        const c10::intrusive_ptr<PairsHolder>& holder) {
    GroupedExperts experts = holder->experts;
    experts.lora_A = lora_A;
    experts.lora_B = lora_B;
    experts.weights_TE = weights_TE;
    const Tensor u_Pr = add_grouped_experts(experts, x_TD, out_TO);
    context->mark_dirty({out_TO});
    context->save_for_backward({x_TD, lora_A, lora_B, weights_TE, u_Pr});
    context->saved_data["pairs"] = c10::IValue::make_capsule(holder);
    return out_TO;
  }

  static variable_list backward(AutogradContext* context, variable_list gradients) {
    const auto holder =
        c10::static_intrusive_pointer_cast<PairsHolder>(context->saved_data["pairs"].toCapsule());
    const auto saved = context->get_saved_variables();
    GroupedExperts experts = holder->experts;
    experts.lora_A = saved[1];
    experts.lora_B = saved[2];
    experts.weights_TE = saved[3];
    const Tensor& d_out_TO = gradients[0];
    Tensor d_x_TD;
    if (context->needs_input_grad(1)) d_x_TD = at::zeros_like(saved[0]);
    const GroupedGradients found = grouped_gradients(experts, saved[0], saved[4], d_out_TO, d_x_TD);
    return {d_out_TO, d_x_TD, found.lora_A, found.lora_B, found.weights_TE, Tensor()};
  }
};

// What a half needs between its passes besides tensors of the graph.
struct HalfHolder : torch::CustomClassHolder {
  HalfHolder(ExpertRows r, std::optional<TokenDropout> d)
      : rows(std::move(r)), dropout(std::move(d)) {}
  ExpertRows rows;
  std::optional<TokenDropout> dropout;
};

class ProjectFunction : public torch::autograd::Function<ProjectFunction> {
 public:
  static Tensor forward(AutogradContext* context, const Tensor& x_TD, const Tensor& lora_A,
                        const c10::intrusive_ptr<HalfHolder>& holder) {
    RECORD_FUNCTION("molora::project_pairs", {});
    context->save_for_backward({x_TD, lora_A});
    context->saved_data["half"] = c10::IValue::make_capsule(holder);
    const Tensor read_TD = holder->dropout ? under_dropout(x_TD, *holder->dropout) : x_TD;
    return project_rows(read_TD, lora_A, holder->rows);
  }

  static variable_list backward(AutogradContext* context, variable_list gradients) {
    RECORD_FUNCTION("molora::project_pairs_backward", {});
    const auto holder =
        c10::static_intrusive_pointer_cast<HalfHolder>(context->saved_data["half"].toCapsule());
    const auto saved = context->get_saved_variables();
    const Tensor& x_TD = saved[0];
    const Tensor& lora_A = saved[1];
    const auto masked = [&](const Tensor& of_TD) {
      return holder->dropout ? under_dropout(of_TD, *holder->dropout) : of_TD;
    };
    const Tensor d_A = sum_outer_rows(gradients[0], masked(x_TD), holder->rows);
    Tensor d_x_TD;
    if (context->needs_input_grad(0)) {
      d_x_TD = at::zeros_like(x_TD);
      expand_rows(d_x_TD, gradients[0], lora_A, holder->rows);
      d_x_TD = masked(d_x_TD);
    }
    return {d_x_TD, d_A.to(lora_A.scalar_type()), Tensor()};
  }
};

class ExpandFunction : public torch::autograd::Function<ExpandFunction> {
 public:
  static Tensor forward(AutogradContext* context, const Tensor& out_TO, const Tensor& h_Pr,
                        const Tensor& lora_B, const c10::intrusive_ptr<HalfHolder>& holder) {
    RECORD_FUNCTION("molora::expand_pairs", {});
    context->save_for_backward({h_Pr, lora_B});
    context->saved_data["half"] = c10::IValue::make_capsule(holder);
    expand_rows(out_TO, h_Pr, lora_B, holder->rows);
    context->mark_dirty({out_TO});
    return out_TO;
  }

  static variable_list backward(AutogradContext* context, variable_list gradients) {
    RECORD_FUNCTION("molora::expand_pairs_backward", {});
    const auto holder =
        c10::static_intrusive_pointer_cast<HalfHolder>(context->saved_data["half"].toCapsule());
    const auto saved = context->get_saved_variables();
    const Tensor& d_out_TO = gradients[0];
    const Tensor d_h_Pr = project_rows(d_out_TO, saved[1], holder->rows);
    const Tensor d_B = sum_outer_rows(saved[0], d_out_TO, holder->rows);
    return {d_out_TO, d_h_Pr.to(saved[0].scalar_type()), d_B.to(saved[1].scalar_type()), Tensor()};
  }
};

}  // namespace

Tensor under_dropout(const Tensor& x_TD, const TokenDropout& dropout) {
  return apply_dropout(x_TD, dropout.samples_T, dropout.positions_T, dropout.channels,
                       dropout.dropout);
}

Tensor add_grouped_experts(const GroupedExperts& experts, const Tensor& x_TD,
                           const Tensor& out_TO) {
  RECORD_FUNCTION("molora::grouped_experts", {});
  const at::NoGradGuard no_grad;
  Tensor u_Pr = project_rows(dropped(x_TD, experts), experts.lora_A, experts.rows);
  const Tensor h_Pr = u_Pr * pair_scales(experts, u_Pr.scalar_type());
  expand_rows(out_TO, h_Pr, experts.lora_B, experts.rows);
  return u_Pr;
}

GroupedGradients grouped_gradients(const GroupedExperts& experts, const Tensor& x_TD,
                                   const Tensor& u_Pr, const Tensor& d_out_TO,
                                   const Tensor& d_x_TD) {
  RECORD_FUNCTION("molora::grouped_experts_backward", {});
  const at::NoGradGuard no_grad;
  const ExpertRows& rows = experts.rows;
  const Tensor scales_P1 = pair_scales(experts, u_Pr.scalar_type());
  const Tensor d_h_Pr = project_rows(d_out_TO, experts.lora_B, rows);
  const Tensor d_u_Pr = d_h_Pr * scales_P1;
  GroupedGradients found;
  found.lora_B = sum_outer_rows(u_Pr * scales_P1, d_out_TO, rows).to(experts.lora_B.scalar_type());
  found.lora_A =
      sum_outer_rows(d_u_Pr, dropped(x_TD, experts), rows).to(experts.lora_A.scalar_type());
  const Tensor& weights_TE = experts.weights_TE;
  const Tensor d_weights_P = (u_Pr * d_h_Pr).sum(1) * experts.scale;
  found.weights_TE = at::zeros({weights_TE.numel()}, weights_TE.options())
                         .index_copy_(0, rows.slots_P, d_weights_P.to(weights_TE.scalar_type()))
                         .view_as(weights_TE);
  if (!d_x_TD.defined()) return found;
  if (experts.dropout) {
    const Tensor d_dropped_TD = at::zeros_like(d_x_TD);
    expand_rows(d_dropped_TD, d_u_Pr, experts.lora_A, rows);
    d_x_TD.add_(dropped(d_dropped_TD, experts));
  } else {
    expand_rows(d_x_TD, d_u_Pr, experts.lora_A, rows);
  }
  return found;
}

Tensor apply_grouped_experts(const Tensor& out_TO, const Tensor& x_TD,
                             const GroupedExperts& experts) {
  MOLORA_CHECK_EQ(experts.weights_TE.size(0), x_TD.size(0), "tokens with weights");
  MOLORA_CHECK_EQ(experts.weights_TE.size(1), experts.rows.num_experts(), "experts with weights");
  GroupedExperts kept = experts;  // without what is saved by itself
  kept.lora_A = kept.lora_B = kept.weights_TE = Tensor();
  return GroupedFunction::apply(out_TO, x_TD, experts.lora_A, experts.lora_B, experts.weights_TE,
                                c10::make_intrusive<PairsHolder>(std::move(kept)));
}

Tensor project_pairs(const Tensor& x_TD, const Tensor& lora_A, const ExpertRows& rows,
                     const std::optional<TokenDropout>& dropout) {
  return ProjectFunction::apply(x_TD, lora_A, c10::make_intrusive<HalfHolder>(rows, dropout));
}

Tensor gate_pairs(const Tensor& u_Pr, const Tensor& weights_TE, const ExpertRows& rows,
                  double scale) {
  const Tensor weights_P = weights_TE.reshape({-1}).index_select(0, rows.slots_P);
  return u_Pr * (weights_P.to(u_Pr.scalar_type()) * scale).unsqueeze(1);
}

Tensor expand_pairs(const Tensor& out_TO, const Tensor& h_Pr, const Tensor& lora_B,
                    const ExpertRows& rows) {
  return ExpandFunction::apply(out_TO, h_Pr, lora_B,
                               c10::make_intrusive<HalfHolder>(rows, std::nullopt));
}

}  // namespace molora
