#include "model/recompute.h"

#include <ATen/core/grad_mode.h>
#include <torch/csrc/autograd/autograd.h>
#include <torch/csrc/autograd/custom_function.h>

#include "base/check.h"
#include "watch/thread_ties.h"

namespace molora {

namespace {

using torch::autograd::AutogradContext;
using torch::autograd::variable_list;

// Carries the function from the forward to the backward pass.
struct FunctionHolder : torch::CustomClassHolder {
  explicit FunctionHolder(RecomputedFunction f) : function(std::move(f)) {}
  RecomputedFunction function;
  ThreadTies ties = ThreadTies::of_this_thread();
};

// `anchor` requires grad, so that the backward pass comes here whatever the inputs are.
class RecomputeFunction : public torch::autograd::Function<RecomputeFunction> {
 public:
  static Tensor forward(AutogradContext* context, const Tensor& anchor,
                        const c10::intrusive_ptr<FunctionHolder>& holder, at::TensorList inputs) {
    (void)anchor;
    const std::vector<Tensor> kept = inputs.vec();
    context->save_for_backward(kept);
    context->saved_data["function"] = c10::IValue::make_capsule(holder);
    const at::NoGradGuard no_grad;
    return holder->function(kept);
  }

  static variable_list backward(AutogradContext* context, variable_list gradients) {
    const auto holder = c10::static_intrusive_pointer_cast<FunctionHolder>(
        context->saved_data["function"].toCapsule());
    const TiedScope tied(holder->ties);
    std::vector<Tensor> inputs;
    for (const Tensor& saved : context->get_saved_variables()) {
      Tensor input = saved.detach();
      input.set_requires_grad(saved.requires_grad());
      inputs.push_back(input);
    }
    {
      const at::AutoGradMode record(true);
      const Tensor output = holder->function(inputs);
      MOLORA_CHECK(output.requires_grad(), "a recomputed piece without anything to train");
      torch::autograd::backward({output}, {gradients[0]});
    }
    variable_list result = {Tensor(), Tensor()};  // anchor, function
    for (const Tensor& input : inputs) result.push_back(input.grad());
    return result;
  }
};

}  // namespace

Tensor recompute_in_backward(const RecomputedFunction& function,
                             const std::vector<Tensor>& inputs) {
  if (!at::GradMode::is_enabled()) return function(inputs);
  Tensor anchor = at::zeros({}, at::kFloat);
  anchor.set_requires_grad(true);
  return RecomputeFunction::apply(anchor, c10::make_intrusive<FunctionHolder>(function),
                                  at::TensorList(inputs));
}

Tensor recompute_where_selective(TrainConfig::Recompute recompute,
                                 const std::vector<Tensor>& inputs,
                                 const RecomputedFunction& function) {
  const bool again = recompute == TrainConfig::selective && at::GradMode::is_enabled();
  bool has_gradient = false;
  for (const Tensor& input : inputs) has_gradient = has_gradient || input.requires_grad();
  return again && has_gradient ? recompute_in_backward(function, inputs) : function(inputs);
}

}  // namespace molora
