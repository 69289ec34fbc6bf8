#include "export/fixed_weight.h"

#include "base/check.h"
#include "model/bottleneck.h"
#include "model/router.h"

namespace molora {

namespace {

// Of all experts: [experts].
Tensor fixed_gates(const LinearAdapter& linear, int64_t task) {
  if (!linear.spec.has_router()) return at::ones({linear.spec.num_experts}, at::kFloat);
  const Tensor task_1 = at::full({1}, task, at::kLong);
  return route({}, linear, {.ids = {task_1, task_1, task_1}}).weights_TE[0].to(at::kFloat);
}

}  // namespace

bool has_fixed_weight(const AdapterSpec& spec) {
  return !spec.is_block && spec.heads == 1 && (!spec.has_router() || spec.routes_by_task);
}

Tensor fixed_weight(const Tensor& weight_OI, const LinearAdapter& linear, int64_t task) {
  MOLORA_CHECK(has_fixed_weight(linear.spec), "{} has a router that reads tokens", linear.path);
  const AdapterSpec& spec = linear.spec;
  const Tensor gates_E = fixed_gates(linear, task) * spec.scale;
  const Tensor a_RI =
      each_experts_A(linear.lora_A.detach(), spec, spec.num_experts).to(at::kFloat).flatten(0, 1);
  const Tensor b_RO =
      (linear.lora_B.detach().to(at::kFloat) * gates_E.view({-1, 1, 1})).flatten(0, 1);
  Tensor sum_OI = at::addmm(weight_OI.to(at::kFloat), b_RO.t(), a_RI);
  if (!spec.is_dora) return sum_OI;
  const Tensor factor_O =
      linear.magnitude.detach().to(at::kFloat) / at::linalg_vector_norm(sum_OI, 2.0, {1});
  return sum_OI * factor_O.unsqueeze(1);
}

}  // namespace molora
