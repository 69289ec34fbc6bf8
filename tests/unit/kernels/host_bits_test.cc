// The loops of the CPU give the same bits whatever runs them: any number of threads, any set of
// instructions, tokens together or apart.
#include <ATen/Parallel.h>
#include <gtest/gtest.h>

#include "kernels/adamw_step.h"
#include "kernels/cross_entropy.h"
#include "kernels/dropout.h"
#include "kernels/gating.h"
#include "kernels/host/instruction_set.h"
#include "kernels/norm.h"
#include "kernels/rotary.h"
#include "kernels/routing.h"
#include "kernels/swiglu.h"
#include "support/kernel_results.h"

namespace molora {
namespace {

using testing::by_host;
using testing::expect_same;
using testing::numbers_of;
using testing::Results;
using testing::value_and_gradients;
using testing::wide_type_of;

constexpr int64_t kTokens = 300;

struct Range {
  int64_t begin = 0;
  int64_t end = kTokens;
};

// Every operation whose results belong to tokens, over a range of them.
Results results_of_tokens(at::ScalarType type, Range range) {
  const auto rows = [&](const Tensor& x) { return x.slice(0, range.begin, range.end); };
  const at::ScalarType wide = wide_type_of(type);
  const Tensor x = rows(numbers_of({kTokens, 603}, type, 1));
  const Tensor weight = numbers_of({603}, type, 2);
  const Tensor logits = rows(numbers_of({kTokens, 67}, wide, 3));
  const Tensor table = rows(numbers_of({kTokens, 20}, type, 4));
  const Tensor numbers = rows(at::arange(kTokens, at::kLong));
  Results all;
  const auto add = [&](const Results& results) {
    all.insert(all.end(), results.begin(), results.end());
  };
  const auto of_each = [&](const Results& inputs, const auto& f) {
    Results leaves;
    for (const Tensor& input : inputs) leaves.push_back(input.detach().clone().requires_grad_());
    const Tensor value = f(leaves);
    value.backward(rows(numbers_of({kTokens, value[0].numel()}, type, 9))
                       .view(value.sizes())
                       .to(value.scalar_type()));
    add({value.detach()});
    for (const Tensor& leaf : leaves) add({leaf.grad()});
  };
  of_each({x}, [&](const Results& in) { return rms_norm(in[0], weight, 1e-6); });
  of_each({x, x * 3}, [&](const Results& in) { return swiglu(in[0], in[1]); });
  of_each({x.slice(1, 0, 60).view({-1, 3, 20})},
          [&](const Results& in) { return apply_rotary(in[0], table, table); });
  of_each({x, logits}, [&](const Results& in) { return gate_and_scale(in[0], in[1], 1.7, 9); });
  of_each({x}, [&](const Results& in) {
    return apply_dropout(in[0], numbers, numbers, {3, 606}, {0.3, 5});
  });
  for (const RouterGate gate : {RouterGate::kTopkSoftmax, RouterGate::kSoftmaxTopk}) {
    of_each({logits}, [&](const Results& in) { return route_top_k(in[0], 5, gate).weights_TE; });
  }
  const Tensor column = numbers.unsqueeze(1);
  const auto [largest, sum, target] = sum_logits(x, column);
  add({largest, sum, target, into_gradient(x.clone(), largest + sum.log(), column)});
  return all;
}

// What is of all tokens or of none.
Results results_of_all(at::ScalarType type) {
  const at::ScalarType wide = wide_type_of(type);
  const Tensor logits = numbers_of({kTokens, 67}, wide, 3);
  const Tensor shares = at::zeros({67}, at::kDouble);
  const Tensor z = at::zeros({1}, at::kDouble);
  add_router_statistics({at::zeros({67}, at::kLong), shares, z}, logits, choose_experts(logits, 2));
  const std::vector<AdamWTensor> tensors = {
      {numbers_of({40000}, wide, 1), numbers_of({40000}, wide, 2),
       numbers_of({40000}, wide, 3).abs(), numbers_of({40000}, wide, 4)}};
  adamw_step(tensors, {1e-2, 0.9, 0.95, 1e-8, 0.1, 3, 0.9});
  return {shares, z, tensors[0].value, tensors[0].first, tensors[0].second};
}

Results all_results(at::ScalarType type) {
  return by_host([&] {
    Results all = results_of_tokens(type, {});
    for (const Tensor& of : results_of_all(type)) all.push_back(of);
    return all;
  });
}

TEST(HostBits, AreTheSameForEveryNumberOfThreads) {
  const int threads = at::get_num_threads();
  for (const at::ScalarType type : testing::kNumberTypes) {
    at::set_num_threads(1);
    const Results alone = all_results(type);
    for (const int count : {2, 3}) {
      at::set_num_threads(count);
      expect_same(all_results(type), alone);
    }
  }
  at::set_num_threads(threads);
}

TEST(HostBits, AreTheSameForEveryInstructionSet) {
  for (const at::ScalarType type : testing::kNumberTypes) {
    const Results best = all_results(type);
    for (const InstructionSet set : {InstructionSet::kPlain, InstructionSet::kAvx2}) {
      limit_instruction_set(set);
      expect_same(all_results(type), best);
    }
    limit_instruction_set(InstructionSet::kAvx512);
  }
}

TEST(HostBits, OfATokenDoNotDependOnTheOthers) {
  for (const at::ScalarType type : testing::kNumberTypes) {
    const Results together = by_host([&] { return results_of_tokens(type, {}); });
    for (const Range range : {Range{0, 1}, Range{17, 100}, Range{299, 300}}) {
      const Results apart = by_host([&] { return results_of_tokens(type, range); });
      Results parts;
      for (const Tensor& of : together) parts.push_back(of.slice(0, range.begin, range.end));
      expect_same(apart, parts);
    }
  }
}

TEST(InstructionSets, AreLimitedButNotExtended) {
  const InstructionSet best = instruction_set();
  limit_instruction_set(InstructionSet::kPlain);
  EXPECT_EQ(instruction_set(), InstructionSet::kPlain);
  limit_instruction_set(InstructionSet::kAvx512);
  EXPECT_EQ(instruction_set(), best);
}

}  // namespace
}  // namespace molora
