// Gradients on the fake device: the bits of the CPU, on autograd's thread for the device.
#include <thread>

#include <c10/core/impl/VirtualGuardImpl.h>
#include <gtest/gtest.h>
#include <torch/csrc/autograd/custom_function.h>

#include "fake_gpu.h"

namespace molora::testing {
namespace {

// A bit of everything that a transformer's backward pass meets.
std::vector<Tensor> gradients(at::Device d) {
  Tensor x = uniform({7, 8}, 1, d).requires_grad_();
  Tensor w = uniform({8, 8}, 2, d).requires_grad_();
  Tensor h = at::linear(x, w).softmax(-1).index_select(0, indices({3, 1, 0, 6, 2, 2, 5}, d));
  h = std::get<0>(h.sort(1));
  h = at::cat({h, x}, 0).gather(1, at::ones({14, 3}, h.options().dtype(at::kLong)));
  const Tensor q = at::linear(at::silu(x), w).view({1, 7, 2, 4}).transpose(1, 2);
  const Tensor mask = at::ones({7, 7}, q.options().dtype(at::kBool)).tril();
  const Tensor a = at::scaled_dot_product_attention(q, q, q, {}, 0.0, true);
  const Tensor b = at::scaled_dot_product_attention(q, q * 2, q, mask);
  const Tensor rows = at::embedding(w, indices({3, 3, 1}, d));
  Tensor sum = h.square().sum() + a.sum() + (b * a).sum() + rows.exp().sum();
  sum = sum + x.repeat_interleave(2, 0).index({indices({0, 9, 9}, d)}).square().mean();
  sum = sum + at::cross_entropy_loss(at::linear(x, w), indices({1, 7, 0, 2, 2, 5, 4}, d));
  sum.backward();
  return {x.grad(), w.grad()};
}

TEST(FakeTorchAutograd, GradientsHaveTheBitsOfTheCpu) {
  const auto expected = gradients(at::kCPU);
  const auto got = gradients(kGpu);
  for (size_t i = 0; i < expected.size(); ++i) {
    EXPECT_EQ(got[i].device(), kGpu);
    EXPECT_TRUE(same_bits(got[i], expected[i])) << got[i] << "\nfor\n" << expected[i];
  }
}

// Doubles, and remembers which thread computed the gradient and on which stream.
struct Double : torch::autograd::Function<Double> {
  static inline std::thread::id backward_thread;
  static inline void* backward_stream = nullptr;

  static Tensor forward(torch::autograd::AutogradContext*, const Tensor& input) {
    return input * 2;
  }
  static torch::autograd::variable_list backward(torch::autograd::AutogradContext*,
                                                 const torch::autograd::variable_list& grads) {
    backward_thread = std::this_thread::get_id();
    backward_stream = compute_stream(kGpu);
    return {grads[0] * 2};
  }
};

TEST(FakeTorchAutograd, RunsOnTheThreadOfTheDevice) {
  Tensor x = uniform({3}, 1, kGpu).requires_grad_();
  Double::apply(x).sum().backward();
  EXPECT_NE(Double::backward_thread, std::this_thread::get_id());
  EXPECT_TRUE(same_bits(x.grad(), at::full({3}, 2.0)));
}

TEST(FakeTorchAutograd, RunsOnTheStreamOfTheForwardPass) {
  Tensor x = uniform({3}, 1, kGpu).requires_grad_();
  const c10::impl::VirtualGuardImpl guard(at::kCUDA);
  const c10::Stream side = guard.getStreamFromGlobalPool(kGpu);
  const c10::Stream before = guard.exchangeStream(side);
  const Tensor y = Double::apply(x).sum();
  guard.exchangeStream(before);
  y.backward();
  EXPECT_EQ(Double::backward_stream, guard.getStreamNativeHandle(side));
  EXPECT_NE(Double::backward_stream, compute_stream(kGpu));
}

TEST(FakeTorchAutograd, CarriesExceptionsOfTheBackwardPass) {
  struct Refuse : torch::autograd::Function<Refuse> {
    static Tensor forward(torch::autograd::AutogradContext*, const Tensor& input) {
      return input * 2;
    }
    static torch::autograd::variable_list backward(torch::autograd::AutogradContext*,
                                                   const torch::autograd::variable_list&) {
      throw std::runtime_error("not today");
    }
  };
  Tensor x = uniform({3}, 1, kGpu).requires_grad_();
  const Tensor y = Refuse::apply(x).sum();
  EXPECT_THROW(y.backward(), std::runtime_error);
}

}  // namespace
}  // namespace molora::testing
