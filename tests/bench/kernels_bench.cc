// The operations of src/kernels as LibTorch's operators and as the loops of the CPU: CPU time of
// the forward and the backward pass, by one thread, the two in turn; the median of the rounds and,
// in brackets, the fastest.
//
// usage: kernels_bench [TOKENS [ROUNDS]]
#include <algorithm>
#include <cstdio>
#include <ctime>
#include <exception>
#include <functional>
#include <string>
#include <vector>

#include <ATen/ATen.h>
#include <ATen/Parallel.h>

#include "kernels/adamw_step.h"
#include "kernels/cross_entropy.h"
#include "kernels/dropout.h"
#include "kernels/gating.h"
#include "kernels/kernel_choice.h"
#include "kernels/norm.h"
#include "kernels/rotary.h"
#include "kernels/routing.h"
#include "kernels/swiglu.h"

namespace molora {
namespace {

using Inputs = std::vector<Tensor>;

struct Sizes {
  int64_t tokens = 1024;
  int rounds = 15;
};

double cpu_seconds() { return static_cast<double>(std::clock()) / CLOCKS_PER_SEC; }

struct Times {
  std::vector<double> seconds;
  double median() {
    std::sort(seconds.begin(), seconds.end());
    return seconds[seconds.size() / 2];
  }
  double least() const { return *std::min_element(seconds.begin(), seconds.end()); }
};

// Prints what `work` takes each way.
void compare(const std::string& name, int rounds, const std::function<void()>& work) {
  Times operators;
  Times loops;
  for (int round = -1; round < rounds; ++round) {
    for (const KernelChoice choice : {KernelChoice::kAten, KernelChoice::kHost}) {
      choose_kernels(choice);
      const double start = cpu_seconds();
      work();
      const double taken = cpu_seconds() - start;
      if (round >= 0) (choice == KernelChoice::kAten ? operators : loops).seconds.push_back(taken);
    }
  }
  std::printf("%-24s operators %8.3f ms [%8.3f]  loops %8.3f ms [%8.3f]  %5.1fx\n", name.c_str(),
              1e3 * operators.median(), 1e3 * operators.least(), 1e3 * loops.median(),
              1e3 * loops.least(), operators.median() / loops.median());
}

void compare_both_passes(const std::string& name, int rounds, const Inputs& inputs,
                         const std::function<Tensor(const Inputs&)>& f) {
  Inputs leaves;
  for (const Tensor& input : inputs) leaves.push_back(input.detach().clone().requires_grad_());
  const Tensor gradient = at::randn_like(f(leaves).detach());
  compare(name, rounds, [&] {
    for (Tensor& leaf : leaves) leaf.mutable_grad().reset();
    f(leaves).backward(gradient);
  });
}

void compare_for(at::ScalarType type, const Sizes& sizes) {
  const std::string of_type = type == at::kFloat ? " fp32" : " bf16";
  const int rounds = sizes.rounds;
  const int64_t tokens = sizes.tokens;
  const auto numbers = [&](at::IntArrayRef shape) { return at::randn(shape).to(type); };
  const Tensor weight = numbers({576});
  compare_both_passes("rms_norm 576" + of_type, rounds, {numbers({tokens, 576})},
                      [&](const Inputs& in) { return rms_norm(in[0], weight, 1e-5); });
  compare_both_passes("swiglu 1536" + of_type, rounds,
                      {numbers({tokens, 1536}), numbers({tokens, 1536})},
                      [](const Inputs& in) { return swiglu(in[0], in[1]); });
  const Tensor table = numbers({tokens, 64});
  compare_both_passes("rotary 9 x 64" + of_type, rounds, {numbers({tokens, 9, 64})},
                      [&](const Inputs& in) { return apply_rotary(in[0], table, table); });
  for (const int64_t experts : {8, 64}) {
    compare_both_passes("gates " + std::to_string(experts) + " x 16" + of_type, rounds,
                        {numbers({tokens, experts * 16}), at::randn({tokens, experts})},
                        [&](const Inputs& in) { return gate_and_scale(in[0], in[1], 2.0, 16); });
  }
  const Tensor places = at::arange(tokens, at::kLong);
  compare_both_passes("dropout 576" + of_type, rounds, {numbers({tokens, 576})},
                      [&](const Inputs& in) {
                        return apply_dropout(in[0], places, places, {0, 576}, {0.1, 7});
                      });
  const Tensor logits = numbers({std::min<int64_t>(tokens, 512), 49152});
  const Tensor column = at::arange(logits.size(0), at::kLong).unsqueeze(1);
  compare("cross entropy 49152" + of_type, rounds, [&] {
    const LogitSums sums = sum_logits(logits, column);
    (void)into_gradient(logits.clone(), sums.largest_n1 + sums.sum_n1.log(), column);
  });
}

void compare_routers(const Sizes& sizes) {
  for (const int64_t experts : {8, 64}) {
    const Tensor logits = at::randn({sizes.tokens, experts});
    compare_both_passes("router " + std::to_string(experts) + ", k 2", sizes.rounds, {logits},
                        [](const Inputs& in) {
                          return route_top_k(in[0], 2, RouterGate::kTopkSoftmax).weights_TE;
                        });
    const Tensor chosen = choose_experts(logits, 2);
    const StatisticsOfRouter sums = {at::zeros({experts}, at::kLong),
                                     at::zeros({experts}, at::kDouble), at::zeros({}, at::kDouble)};
    compare("statistics " + std::to_string(experts), sizes.rounds,
            [&] { add_router_statistics(sums, logits, chosen); });
  }
}

void compare_optimizers(const Sizes& sizes) {
  std::vector<AdamWTensor> tensors;
  for (int i = 0; i < 200; ++i) {
    const auto numbers = [] { return at::rand({128, 576}); };
    tensors.push_back({numbers(), numbers(), numbers(), numbers()});
  }
  compare("adamw 200 x 73728, clipped", sizes.rounds, [&] {
    adamw_step(tensors, {.learning_rate = 1e-4,
                         .beta1 = 0.9,
                         .beta2 = 0.95,
                         .eps = 1e-8,
                         .weight_decay = 0.1,
                         .num_updates = 10,
                         .gradient_scale = 0.9});
  });
}

}  // namespace
}  // namespace molora

int main(int argc, char** argv) {
  try {
    molora::Sizes sizes;
    if (argc > 1) sizes.tokens = std::stoll(argv[1]);
    if (argc > 2) sizes.rounds = std::stoi(argv[2]);
    at::set_num_threads(1);
    molora::compare_for(at::kFloat, sizes);
    molora::compare_for(at::kBFloat16, sizes);
    molora::compare_routers(sizes);
    molora::compare_optimizers(sizes);
    return 0;
  } catch (const std::exception& error) {
    std::fprintf(stderr, "%s\n", error.what());
    return 70;
  }
}
