#include "parallel/linear_map.h"

#include <torch/csrc/autograd/custom_function.h>

#include "watch/place.h"
#include "watch/thread_ties.h"

namespace molora {

namespace {

using torch::autograd::AutogradContext;
using torch::autograd::variable_list;

struct MapHolder : torch::CustomClassHolder {
  explicit MapHolder(LinearMap m) : map(std::move(m)), place(current_place()) {
    place.direction = Direction::kBackward;
  }
  LinearMap map;
  WorkPlace place;  // in the backward pass
  ThreadTies ties = ThreadTies::of_this_thread();
};

class LinearMapFunction : public torch::autograd::Function<LinearMapFunction> {
 public:
  static Tensor forward(AutogradContext* context, const Tensor& x,
                        const c10::intrusive_ptr<MapHolder>& holder) {
    context->saved_data["map"] = c10::IValue::make_capsule(holder);
    const Tensor y = holder->map.forward(x);
    // A result that is the argument itself would be taken for an in-place change of it.
    return y.is_same(x) ? x.view_as(x) : y;
  }
  static variable_list backward(AutogradContext* context, variable_list gradients) {
    const auto holder =
        c10::static_intrusive_pointer_cast<MapHolder>(context->saved_data["map"].toCapsule());
    const TiedScope tied(holder->ties);
    const PlaceScope scope(holder->place);
    return {holder->map.transpose(gradients[0]), Tensor()};
  }
};

}  // namespace

Tensor apply_linear_map(const Tensor& x, const LinearMap& map) {
  return LinearMapFunction::apply(x, c10::make_intrusive<MapHolder>(map));
}

}  // namespace molora
