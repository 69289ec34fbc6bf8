#include "model/input_products.h"

#include <utility>

#include <ATen/record_function.h>
#include <torch/csrc/autograd/custom_function.h>

#include "base/check.h"
#include "kernels/expert_rows.h"
#include "kernels/kernel_choice.h"

namespace molora {

namespace {

using torch::autograd::AutogradContext;
using torch::autograd::variable_list;

// The trained matrices of one type under each other, so that they share a product.
struct Stack {
  at::ScalarType type;
  std::vector<size_t> members;  // their places among the trained matrices
  std::vector<int64_t> rows;    // of each member
};

std::vector<Stack> stacks_of(at::TensorList trained) {
  std::vector<Stack> stacks;
  for (size_t i = 0; i < trained.size(); ++i) {
    const at::ScalarType type = trained[i].scalar_type();
    size_t at = 0;
    while (at < stacks.size() && stacks[at].type != type) ++at;
    if (at == stacks.size()) stacks.push_back({type, {}, {}});
    stacks[at].members.push_back(i);
    stacks[at].rows.push_back(trained[i].size(0));
  }
  return stacks;
}

// [rows of all members, in].
Tensor stacked(const Stack& stack, at::TensorList trained) {
  if (stack.members.size() == 1) return trained[stack.members.front()];
  std::vector<Tensor> members;
  for (const size_t member : stack.members) members.push_back(trained[member]);
  return at::cat(members, 0);
}

// Routers are kept in fp32 under bf16 activations: their products read the rows as they are,
// without a copy in fp32.
bool reads_narrow_rows(const Tensor& x_TD, at::ScalarType type) {
  return type == at::kFloat && x_TD.scalar_type() == at::kBFloat16 && host_kernels_wanted(x_TD);
}

// x M^T: [tokens, rows of M], in M's type.
Tensor trained_product(const Tensor& x_TD, const Tensor& matrix_RD) {
  const at::ScalarType type = matrix_RD.scalar_type();
  if (!reads_narrow_rows(x_TD, type)) return at::mm(x_TD.to(type), matrix_RD.t());
  return project_rows(x_TD, matrix_RD.unsqueeze(0), all_rows(x_TD.size(0)), MatrixRounding::kNone);
}

// d^T x: [rows of M, D].
Tensor trained_gradient(const Tensor& d_TR, const Tensor& x_TD) {
  const at::ScalarType type = d_TR.scalar_type();
  if (!reads_narrow_rows(x_TD, type)) return at::mm(d_TR.t(), x_TD.to(type));
  return sum_outer_rows(d_TR, x_TD, all_rows(x_TD.size(0)), MatrixRounding::kNone).squeeze(0);
}

struct FrozenHolder : torch::CustomClassHolder {
  explicit FrozenHolder(std::vector<FrozenLinear> l) : linears(std::move(l)) {}
  std::vector<FrozenLinear> linears;
};

// Results: those of the frozen linears, then those of the trained matrices, then the input.
class InputProductsFunction : public torch::autograd::Function<InputProductsFunction> {
 public:
  static variable_list forward(AutogradContext* context, const Tensor& x_TD,
                               const c10::intrusive_ptr<FrozenHolder>& holder,
                               at::TensorList trained) {
    context->saved_data["frozen"] = c10::IValue::make_capsule(holder);
    context->set_materialize_grads(false);
    std::vector<Tensor> kept = trained.vec();
    // Without trained matrices nothing asks for the input again.
    kept.push_back(trained.empty() ? Tensor() : x_TD);
    context->save_for_backward(std::move(kept));

    variable_list results;
    for (const FrozenLinear& linear : holder->linears) {
      results.push_back(frozen_product(x_TD, linear));
    }
    const size_t first = results.size();
    results.resize(first + trained.size());
    for (const Stack& stack : stacks_of(trained)) {
      RECORD_FUNCTION("molora::trained_product", {});
      const Tensor all_TR = trained_product(x_TD, stacked(stack, trained));
      const std::vector<Tensor> parts = all_TR.split_with_sizes(stack.rows, 1);
      for (size_t i = 0; i < parts.size(); ++i) {
        // A view that leaves an autograd function is a special case of its own; these are small.
        results[first + stack.members[i]] =
            parts.size() == 1 ? all_TR : parts[i].clone(at::MemoryFormat::Contiguous);
      }
    }
    results.push_back(x_TD);
    return results;
  }

  static variable_list backward(AutogradContext* context, variable_list gradients) {
    const auto holder =
        c10::static_intrusive_pointer_cast<FrozenHolder>(context->saved_data["frozen"].toCapsule());
    std::vector<Tensor> trained = context->get_saved_variables();
    const Tensor x_TD = trained.back();
    trained.pop_back();
    const size_t num_frozen = holder->linears.size();

    Tensor d_x_TD = gradients.back();
    const bool needs_x = context->needs_input_grad(0);
    for (size_t i = 0; needs_x && i < num_frozen; ++i) {
      if (gradients[i].defined()) add_input_gradient(d_x_TD, gradients[i], holder->linears[i]);
    }
    variable_list results(2 + trained.size());
    for (const Stack& stack : stacks_of(trained)) {
      RECORD_FUNCTION("molora::trained_product_backward", {});
      const Tensor d_all_TR = stacked_gradients(stack, gradients, num_frozen);
      if (!d_all_TR.defined()) continue;
      if (needs_x) add_trained(d_x_TD, d_all_TR, stacked(stack, trained), x_TD.scalar_type());
      const Tensor d_all_RD = trained_gradient(d_all_TR, x_TD);
      const std::vector<Tensor> parts = d_all_RD.split_with_sizes(stack.rows, 0);
      for (size_t i = 0; i < parts.size(); ++i) results[2 + stack.members[i]] = parts[i];
    }
    results[0] = d_x_TD;
    return results;
  }

 private:
  // [tokens, rows of all members]; zeros where nothing came back, undefined where nothing did at
  // all.
  static Tensor stacked_gradients(const Stack& stack, const variable_list& gradients,
                                  size_t num_frozen) {
    std::vector<Tensor> parts;
    Tensor some;
    for (const size_t member : stack.members) {
      parts.push_back(gradients[num_frozen + member]);
      if (parts.back().defined()) some = parts.back();
    }
    if (!some.defined()) return {};
    for (size_t i = 0; i < parts.size(); ++i) {
      if (!parts[i].defined()) parts[i] = at::zeros({some.size(0), stack.rows[i]}, some.options());
    }
    return parts.size() == 1 ? parts.front() : at::cat(parts, 1);
  }

  // d_x += d M in x's type: a gradient of activations, whatever the matrix is kept in.
  static void add_trained(Tensor& d_x_TD, const Tensor& d_TR, const Tensor& matrix_RD,
                          at::ScalarType type) {
    if (d_x_TD.defined()) {
      d_x_TD.addmm_(d_TR.to(type), matrix_RD.to(type));
    } else {
      d_x_TD = at::mm(d_TR.to(type), matrix_RD.to(type));
    }
  }
};

}  // namespace

InputProducts input_products(const Tensor& x_TD, const std::vector<FrozenLinear>& frozen,
                             const std::vector<Tensor>& trained_RD) {
  if (frozen.empty() && trained_RD.empty()) return {{}, {}, x_TD};
  variable_list all = InputProductsFunction::apply(x_TD, c10::make_intrusive<FrozenHolder>(frozen),
                                                   at::TensorList(trained_RD));
  MOLORA_CHECK_EQ(all.size(), frozen.size() + trained_RD.size() + 1);
  const auto middle = all.begin() + static_cast<std::ptrdiff_t>(frozen.size());
  return {{all.begin(), middle}, {middle, all.end() - 1}, all.back()};
}

}  // namespace molora
