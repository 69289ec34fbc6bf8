#include "parallel/grad_sync.h"

#include "base/check.h"
#include "comm/fixed_order_sum.h"
#include "tensor/tensor_bytes.h"

namespace molora {

void sum_gradients(Communicator& communicator, const std::vector<Tensor>& gradients) {
  if (communicator.size() == 1 || gradients.empty()) return;
  std::vector<Tensor> flat_parts;
  flat_parts.reserve(gradients.size());
  for (const Tensor& gradient : gradients) flat_parts.push_back(gradient.flatten());
  const Tensor flat = at::cat(flat_parts);
  if (flat.scalar_type() == at::kDouble) {
    fixed_order_sum(communicator, elements<double>(flat));
  } else {
    MOLORA_CHECK(flat.scalar_type() == at::kFloat, "{}", at::toString(flat.scalar_type()));
    fixed_order_sum(communicator, elements<float>(flat));
  }
  int64_t begin = 0;
  for (const Tensor& gradient : gradients) {
    gradient.copy_(flat.slice(0, begin, begin + gradient.numel()).view(gradient.sizes()));
    begin += gradient.numel();
  }
}

}  // namespace molora
