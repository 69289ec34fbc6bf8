#include "parallel/expert_gather.h"

#include <cstdint>

#include "base/mutation.h"
#include "parallel/linear_map.h"
#include "parallel/tensor_collectives.h"

namespace molora {

namespace {

struct Gather {
  Communicator* ep;
  std::vector<Slice> columns;
  at::ScalarType type;
  std::vector<int64_t> own_shape;  // [e, r, W]

  int64_t block(size_t member) const {
    return own_shape[0] * own_shape[1] * columns[member].length;
  }

  Tensor forward(const Tensor& own_erW) const {
    std::vector<Tensor> parts;
    std::vector<int64_t> send;
    const auto self = static_cast<size_t>(ep->rank());
    for (size_t member = 0; member < columns.size(); ++member) {
      parts.push_back(
          own_erW.slice(2, columns[member].begin, columns[member].end()).to(type).flatten());
      send.push_back(block(member));
    }
    const std::vector<int64_t> received(columns.size(), block(self));
    const Tensor flat = all_to_all_rows(*ep, at::cat(parts), send, received);
    Tensor all_ErW = flat.view({-1, own_shape[1], columns[self].length});
    if (MOLORA_MUTANT(kExpertGatherStale)) {
      all_ErW = all_ErW.slice(0, 0, own_shape[0]).repeat({ep->size(), 1, 1});
    }
    return all_ErW;
  }

  Tensor transpose(const Tensor& gradient_ErW) const {
    const auto self = static_cast<size_t>(ep->rank());
    const std::vector<int64_t> send(columns.size(), block(self));
    std::vector<int64_t> received;
    for (size_t member = 0; member < columns.size(); ++member) received.push_back(block(member));
    const Tensor flat = all_to_all_rows(*ep, gradient_ErW.flatten(), send, received);
    const at::ScalarType precision = flat.scalar_type() == at::kDouble ? at::kDouble : at::kFloat;
    Tensor sum_erW = at::zeros(own_shape, flat.options().dtype(precision));
    int64_t begin = 0;
    for (size_t member = 0; member < columns.size(); ++member) {
      const Slice& part = columns[member];
      const Tensor values = flat.slice(0, begin, begin + received[member])
                                .view({own_shape[0], own_shape[1], part.length});
      begin += received[member];
      if (MOLORA_MUTANT(kExpertGradientKept) && member != self) continue;
      sum_erW.slice(2, part.begin, part.end()) += values;
    }
    return sum_erW;
  }
};

}  // namespace

Tensor gather_experts(Communicator& ep, const Tensor& own_erW, const std::vector<Slice>& columns,
                      at::ScalarType type) {
  const Gather gather{&ep, columns, type, own_erW.sizes().vec()};
  return apply_linear_map(
      own_erW, {[gather](const Tensor& own) { return gather.forward(own); },
                [gather](const Tensor& gradient) { return gather.transpose(gradient); }});
}

}  // namespace molora
