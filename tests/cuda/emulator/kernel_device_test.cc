// The operations of src/kernels on a GPU of host memory, as the trainer calls them: by LibTorch's
// operators and by kernels through the launchers that nvcc made, on the stream of the calling
// thread. Both against the CPU, and neither may make the host wait.
#include <dlfcn.h>

#include <functional>

#include <gtest/gtest.h>

#include "device/compute_device.h"
#include "kernels/adamw_step.h"
#include "kernels/dropout.h"
#include "kernels/gating.h"
#include "kernels/kernel_choice.h"
#include "kernels/norm.h"
#include "kernels/rotary.h"
#include "kernels/routing.h"
#include "kernels/token_rows.h"

namespace molora {
namespace {

// Loaded before main(): LibTorch asks only once whether there is a GPU.
const at::Device kGpu = (load_cuda(), use_gpu(0));

template <typename Function>
uint64_t count_of(const char* name) {
  void* found = dlsym(RTLD_DEFAULT, name);
  EXPECT_NE(found, nullptr) << name;
  return found == nullptr ? 0 : reinterpret_cast<Function*>(found)();
}
uint64_t host_syncs() { return count_of<uint64_t()>("fake_torch_host_syncs"); }
uint64_t kernels_launched() { return count_of<uint64_t()>("fake_cuda_num_launches"); }

using Inputs = std::vector<Tensor>;
using Operation = std::function<std::vector<Tensor>(const Inputs&)>;

Tensor numbers(at::IntArrayRef sizes, uint64_t seed, at::ScalarType type = at::kFloat) {
  Tensor wide = at::empty(sizes, at::kDouble);
  fill_uniform(wide, 2.0, seed, 0);
  return wide.to(type);
}

// Copies of the inputs on the device; then the operation; then its results on the CPU.
struct OnDevice {
  std::vector<Tensor> results;
  uint64_t waits = 0;
  uint64_t kernels = 0;
};
OnDevice run_on(at::Device device, const Inputs& inputs, const Operation& operation) {
  Inputs copies;
  for (const Tensor& input : inputs) copies.push_back(input.clone().to(device));
  const uint64_t waits = host_syncs();
  const uint64_t kernels = kernels_launched();
  OnDevice run;
  const std::vector<Tensor> results = operation(copies);
  run.waits = host_syncs() - waits;
  run.kernels = kernels_launched() - kernels;
  for (const Tensor& result : results) run.results.push_back(to_host(result));
  return run;
}

void expect_results(const OnDevice& run, const OnDevice& expected) {
  ASSERT_EQ(run.results.size(), expected.results.size());
  for (size_t i = 0; i < run.results.size(); ++i) {
    const Tensor& want = expected.results[i];
    const bool is_half = want.scalar_type() == at::kBFloat16;
    const double tolerance = is_half ? 3e-2 : 1e-5;
    EXPECT_TRUE(at::allclose(run.results[i], want, tolerance, tolerance)) << "result " << i;
  }
  EXPECT_EQ(run.waits, 0u);
}

void expect_same_everywhere(const Inputs& inputs, const Operation& operation) {
  const OnDevice expected = run_on(at::kCPU, inputs, operation);
  const OnDevice by_operators = run_on(kGpu, inputs, operation);
  expect_results(by_operators, expected);
  choose_kernels(KernelChoice::kFused);
  const OnDevice by_kernels = run_on(kGpu, inputs, operation);
  choose_kernels(KernelChoice::kAten);
  expect_results(by_kernels, expected);
  EXPECT_EQ(by_operators.kernels, 0u);
  EXPECT_GT(by_kernels.kernels, 0u);
}

// The value and the gradients of the first `count` inputs, for a gradient that is the last input.
std::vector<Tensor> with_gradients(const Inputs& in, size_t count,
                                   const std::function<Tensor(const Inputs&)>& f) {
  Inputs leaves = in;
  for (size_t i = 0; i < count; ++i) leaves[i] = in[i].detach().requires_grad_();
  const Tensor value = f(leaves);
  value.backward(in.back());
  std::vector<Tensor> results = {value.detach()};
  for (size_t i = 0; i < count; ++i) results.push_back(leaves[i].grad());
  return results;
}

TEST(KernelDevice, Routing) {
  for (const RouterGate gate :
       {RouterGate::kTopkSoftmax, RouterGate::kSoftmaxTopk, RouterGate::kDenseSoftmax}) {
    expect_same_everywhere({numbers({40, 6}, 1), numbers({40, 6}, 2)}, [gate](const Inputs& in) {
      return with_gradients(in, 1, [gate](const Inputs& leaves) {
        return route_top_k(leaves[0], gate == RouterGate::kDenseSoftmax ? 6 : 2, gate).weights_TE;
      });
    });
  }
}

TEST(KernelDevice, StatisticsOfRouters) {
  expect_same_everywhere({numbers({300, 6}, 1), at::ones({2, 6}, at::kLong),
                          at::ones({2, 6}, at::kDouble), at::ones({2}, at::kDouble)},
                         [](const Inputs& in) {
                           add_router_statistics(
                               {in[1].select(0, 1), in[2].select(0, 1), in[3].select(0, 1)}, in[0],
                               choose_experts(in[0], 2));
                           return std::vector{in[1], in[2], in[3]};
                         });
}

TEST(KernelDevice, RowsThereAndBack) {
  const Tensor needed = numbers({1100, 3}, 4) < -0.5;
  const auto rows_sent = needed.sum().item<int64_t>();
  for (const at::ScalarType type : {at::kFloat, at::kBFloat16, at::kDouble}) {
    expect_same_everywhere({needed, numbers({1100, 24}, 5, type)}, [&](const Inputs& in) {
      const ExchangeIndex index = exchange_index(in[0]);
      const SentRows rows = list_sent_rows(index.position_TP, rows_sent);
      const Tensor sent = gather_rows(in[1], rows.tokens_S);
      return std::vector{index.counts_P, index.position_TP,
                         rows.tokens_S,  rows.destinations_S,
                         sent,           combine_rows(sent, index.position_TP)};
    });
  }
}

TEST(KernelDevice, Gates) {
  for (const at::ScalarType type : {at::kFloat, at::kDouble}) {
    expect_same_everywhere(
        {numbers({30, 12}, 1, type), numbers({30, 3}, 2, type), numbers({30, 12}, 3, type)},
        [](const Inputs& in) {
          return with_gradients(in, 2, [](const Inputs& leaves) {
            return gate_and_scale(leaves[0], leaves[1], 1.7, 4);
          });
        });
  }
}

TEST(KernelDevice, GatesInBf16) {
  expect_same_everywhere(
      {numbers({30, 12}, 1, at::kBFloat16), numbers({30, 3}, 2)},
      [](const Inputs& in) { return std::vector{gate_and_scale(in[0], in[1], 1.7, 4)}; });
}

TEST(KernelDevice, Dropout) {
  for (const at::ScalarType type : {at::kFloat, at::kBFloat16, at::kDouble}) {
    expect_same_everywhere(
        {numbers({9, 21}, 1, type), at::arange(9, at::kLong) * (int64_t{1} << 33),
         at::arange(9, at::kLong), numbers({9, 21}, 2, type)},
        [](const Inputs& in) {
          return with_gradients(in, 1, [](const Inputs& leaves) {
            return apply_dropout(leaves[0], leaves[1], leaves[2], {6, 27}, {0.4, 77});
          });
        });
  }
}

TEST(KernelDevice, AdamW) {
  expect_same_everywhere(
      {numbers({4, 70}, 1), numbers({4, 70}, 2), numbers({4, 70}, 3).abs(), numbers({4, 70}, 4)},
      [](const Inputs& in) {
        const AdamWTensor tensors[] = {{in[0], in[1], in[2], in[3], {1}}};
        adamw_step(tensors, {1e-2, 0.9, 0.95, 1e-8, 0.1, 3});
        return std::vector{in[0], in[1], in[2]};
      });
}

TEST(KernelDevice, Norms) {
  for (const at::ScalarType type : {at::kFloat, at::kBFloat16, at::kDouble}) {
    for (const int64_t columns : {33, 1100}) {
      expect_same_everywhere({numbers({5, columns}, 1, type), numbers({columns}, 2, type),
                              numbers({5, columns}, 3, type)},
                             [](const Inputs& in) {
                               return with_gradients(in, 1, [](const Inputs& leaves) {
                                 return rms_norm(leaves[0], leaves[1], 1e-6);
                               });
                             });
    }
  }
}

TEST(KernelDevice, Rotations) {
  for (const at::ScalarType type : {at::kFloat, at::kBFloat16, at::kDouble}) {
    expect_same_everywhere({numbers({7, 3, 16}, 1, type), numbers({7, 16}, 2, type),
                            numbers({7, 16}, 3, type), numbers({7, 3, 16}, 4, type)},
                           [](const Inputs& in) {
                             return with_gradients(in, 1, [](const Inputs& leaves) {
                               return apply_rotary(leaves[0], leaves[1], leaves[2]);
                             });
                           });
  }
}

}  // namespace
}  // namespace molora
