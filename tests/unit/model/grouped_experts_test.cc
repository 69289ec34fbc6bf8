// The grouped way of computing experts against the dense way, in fp64.
#include "model/grouped_experts.h"

#include <algorithm>
#include <optional>
#include <utility>
#include <vector>

#include <ATen/Parallel.h>
#include <ATen/core/grad_mode.h>
#include <fmt/format.h>
#include <gtest/gtest.h>

#include "base/error.h"
#include "kernels/dropout.h"
#include "kernels/gating.h"
#include "support/expect_throw.h"

namespace molora {
namespace {

constexpr double kTolerance = 1e-12;

struct Shape {
  int64_t tokens = 13;
  int64_t inputs = 21;
  int64_t outputs = 37;
  int64_t experts = 5;
  int64_t per_token = 2;
  int64_t lora_rank = 3;
};

// Inputs of one linear; leaves that require grad.
struct Case {
  Tensor out_TO, x_TD, lora_A, lora_B, weights_TE, chosen_TK, factors_TO;
  std::optional<TokenDropout> dropout;
  double scale = 1.5;

  std::vector<Tensor> leaves() const { return {out_TO, x_TD, lora_A, lora_B, weights_TE}; }
  GroupedExperts grouped() const {
    return {lora_A, lora_B, weights_TE, rows_by_expert(chosen_TK, weights_TE.size(1)),
            scale,  dropout};
  }
};

Tensor chosen_mask(const Tensor& chosen_TK, int64_t experts) {
  return at::zeros({chosen_TK.size(0), experts}, at::kBool).scatter_(1, chosen_TK, true);
}

Case make_case(const Shape& shape, Tensor chosen_TK = {}) {
  at::manual_seed(static_cast<uint64_t>(shape.tokens * 131 + shape.experts));
  const auto random = [](at::IntArrayRef sizes) { return at::randn(sizes, at::kDouble); };
  Case made;
  made.chosen_TK = std::move(chosen_TK);
  if (!made.chosen_TK.defined()) {
    made.chosen_TK = std::get<1>(at::rand({shape.tokens, shape.experts}).topk(shape.per_token, 1));
  }
  made.out_TO = random({shape.tokens, shape.outputs});
  made.x_TD = random({shape.tokens, shape.inputs});
  made.lora_A = random({shape.experts, shape.lora_rank, shape.inputs});
  made.lora_B = random({shape.experts, shape.lora_rank, shape.outputs});
  made.weights_TE =
      random({shape.tokens, shape.experts}) * chosen_mask(made.chosen_TK, shape.experts);
  made.factors_TO = random({shape.tokens, shape.outputs});
  for (const Tensor& leaf : made.leaves()) leaf.requires_grad_();
  return made;
}

TokenDropout some_dropout(int64_t tokens, int64_t inputs) {
  return {at::arange(tokens), at::arange(tokens) * 3, {0, inputs}, {0.3, 77}};
}

Tensor dense_way(const Case& of) {
  Tensor x_TD = of.x_TD;
  if (of.dropout) {
    x_TD = apply_dropout(x_TD, of.dropout->samples_T, of.dropout->positions_T, of.dropout->channels,
                         of.dropout->dropout);
  }
  const Tensor u_TR = at::linear(x_TD, of.lora_A.flatten(0, 1));
  const Tensor h_TR = gate_and_scale(u_TR, of.weights_TE, of.scale, of.lora_A.size(1));
  return at::addmm(of.out_TO, h_TR, of.lora_B.flatten(0, 1));
}

// Out and the gradients of all leaves; that of a weight only where its expert was chosen.
std::vector<Tensor> results(const Case& of, const Tensor& out_TO) {
  for (Tensor leaf : of.leaves()) leaf.mutable_grad().reset();
  (out_TO * of.factors_TO).sum().backward();
  std::vector<Tensor> all = {out_TO.detach().clone()};
  for (const Tensor& leaf : of.leaves()) all.push_back(leaf.grad().clone());
  all.back().mul_(chosen_mask(of.chosen_TK, of.weights_TE.size(1)));
  return all;
}

void expect_the_dense_way(const Case& of) {
  const std::vector<Tensor> dense = results(of, dense_way(of));
  const std::vector<Tensor> grouped =
      results(of, apply_grouped_experts(of.out_TO.clone(), of.x_TD, of.grouped()));
  const char* const names[] = {"out", "d_out", "d_x", "d_A", "d_B", "d_weights"};
  for (size_t i = 0; i < dense.size(); ++i) {
    ASSERT_EQ(dense[i].sizes(), grouped[i].sizes()) << names[i];
    if (dense[i].numel() == 0) continue;
    const double scale = std::max(1.0, dense[i].abs().max().item<double>());
    EXPECT_LE((dense[i] - grouped[i]).abs().max().item<double>(), kTolerance * scale) << names[i];
  }
}

TEST(GroupedExperts, EqualTheDenseWay) {
  for (const Shape& shape :
       {Shape{}, Shape{1, 1, 1, 1, 1, 1}, Shape{64, 16, 48, 8, 2, 16}, Shape{200, 33, 70, 3, 1, 8},
        Shape{97, 130, 27, 64, 4, 5}, Shape{300, 24, 24, 2, 2, 17}, Shape{7, 8, 5, 128, 3, 64}}) {
    SCOPED_TRACE(fmt::format("{} tokens, {} experts", shape.tokens, shape.experts));
    expect_the_dense_way(make_case(shape));
  }
}

TEST(GroupedExperts, EqualTheDenseWayUnderDropout) {
  Case of = make_case({});
  of.dropout = some_dropout(13, 21);
  expect_the_dense_way(of);
}

TEST(GroupedExperts, EqualTheDenseWayWithAllTokensAtOneExpert) {
  expect_the_dense_way(make_case({.per_token = 1}, at::full({13, 1}, 3, at::kLong)));
}

TEST(GroupedExperts, EqualTheDenseWayWithAllExpertsForEachToken) {
  expect_the_dense_way(make_case({.experts = 4, .per_token = 4}));
}

TEST(GroupedExperts, EqualTheDenseWayWithoutTokens) {
  expect_the_dense_way(make_case({.tokens = 0}));
}

TEST(GroupedExperts, ExpertsWithoutTokensHaveZeroGradients) {
  const Case of = make_case({.per_token = 1}, at::full({13, 1}, 3, at::kLong));
  const auto all = results(of, apply_grouped_experts(of.out_TO.clone(), of.x_TD, of.grouped()));
  for (const int64_t expert : {0, 1, 2, 4}) {
    EXPECT_TRUE(all[3][expert].eq(0).all().item<bool>());
    EXPECT_TRUE(all[4][expert].eq(0).all().item<bool>());
  }
}

TEST(GroupedExperts, AddTheInputGradientToWhatIsThere) {
  const Case of = make_case({});
  const at::NoGradGuard no_grad;
  const Tensor out_TO = of.out_TO.clone();
  const Tensor u_Pr = add_grouped_experts(of.grouped(), of.x_TD, out_TO);
  const Tensor fresh_TD = at::zeros_like(of.x_TD);
  const Tensor added_TD = at::ones_like(of.x_TD);
  grouped_gradients(of.grouped(), of.x_TD, u_Pr, of.factors_TO, fresh_TD);
  grouped_gradients(of.grouped(), of.x_TD, u_Pr, of.factors_TO, added_TD);
  EXPECT_TRUE(at::allclose(added_TD, fresh_TD + 1, 1e-13, 1e-13));
}

TEST(GroupedExperts, ComputeFromGatesOfHeldExpertsAlone) {
  Case of = make_case({.experts = 6, .per_token = 3});
  // The experts 2 to 4 live here.
  const Tensor gates_Te = of.weights_TE.detach().slice(1, 2, 5).contiguous();
  const GroupedExperts held = {of.lora_A.detach().slice(0, 2, 5), of.lora_B.detach().slice(0, 2, 5),
                               gates_Te, rows_by_gate(gates_Te), of.scale};
  const Tensor grouped_TO = of.out_TO.detach().clone();
  add_grouped_experts(held, of.x_TD.detach(), grouped_TO);
  const Tensor u_TR = at::linear(of.x_TD.detach(), held.lora_A.flatten(0, 1));
  const Tensor h_TR = gate_and_scale(u_TR, gates_Te, of.scale, 3);
  const Tensor dense_TO = of.out_TO.detach().addmm(h_TR, held.lora_B.flatten(0, 1));
  EXPECT_TRUE(at::allclose(grouped_TO, dense_TO, kTolerance, kTolerance));
}

TEST(GroupedExperts, AreTheirTwoHalves) {
  Case of = make_case({});
  of.dropout = some_dropout(13, 21);
  const GroupedExperts experts = of.grouped();
  const auto whole = results(of, apply_grouped_experts(of.out_TO.clone(), of.x_TD, experts));
  const Tensor u_Pr = project_pairs(of.x_TD, of.lora_A, experts.rows, of.dropout);
  const Tensor h_Pr = gate_pairs(u_Pr, of.weights_TE, experts.rows, of.scale);
  const auto halves = results(of, expand_pairs(of.out_TO.clone(), h_Pr, of.lora_B, experts.rows));
  for (size_t i = 0; i < whole.size(); ++i) {
    EXPECT_TRUE(at::allclose(whole[i], halves[i], kTolerance, kTolerance)) << i;
  }
}

TEST(GroupedExperts, GiveTheSameBitsForTokensInParts) {
  for (const at::ScalarType type : {at::kFloat, at::kBFloat16, at::kDouble}) {
    Case of = make_case({.tokens = 150, .inputs = 70, .outputs = 90});
    const at::NoGradGuard no_grad;
    GroupedExperts experts = of.grouped();
    if (type != at::kDouble) {
      experts.lora_A = experts.lora_A.to(at::kFloat);
      experts.lora_B = experts.lora_B.to(at::kFloat);
    }
    const Tensor x_TD = of.x_TD.to(type);
    const Tensor whole_TO = of.out_TO.to(type, /*non_blocking=*/false, /*copy=*/true);
    const Tensor parts_TO = whole_TO.clone();
    add_grouped_experts(experts, x_TD, whole_TO);
    for (const auto& [begin, end] : {std::pair(0, 1), {1, 64}, {64, 150}}) {
      GroupedExperts part = experts;
      part.weights_TE = experts.weights_TE.slice(0, begin, end);
      part.rows = rows_by_expert(of.chosen_TK.slice(0, begin, end), 5);
      add_grouped_experts(part, x_TD.slice(0, begin, end), parts_TO.slice(0, begin, end));
    }
    EXPECT_TRUE(whole_TO.equal(parts_TO)) << at::toString(type);
  }
}

TEST(GroupedExperts, GiveTheSameBitsOnAnyNumberOfThreads) {
  const Case of = make_case({.tokens = 300, .inputs = 200, .outputs = 1100});
  const int threads = at::get_num_threads();
  std::vector<std::vector<Tensor>> by_threads;
  for (const int count : {1, 3}) {
    at::set_num_threads(count);
    by_threads.push_back(
        results(of, apply_grouped_experts(of.out_TO.clone(), of.x_TD, of.grouped())));
  }
  at::set_num_threads(threads);
  for (size_t i = 0; i < by_threads[0].size(); ++i) {
    EXPECT_TRUE(by_threads[0][i].equal(by_threads[1][i])) << i;
  }
}

TEST(GroupedExperts, RefuseWeightsOfOtherTokens) {
  const Case of = make_case({});
  GroupedExperts experts = of.grouped();
  experts.weights_TE = experts.weights_TE.slice(0, 0, 5);
  const auto call = [&] { apply_grouped_experts(of.out_TO.clone(), of.x_TD, experts); };
  EXPECT_THROW_WITH(call(), InternalError, "tokens with weights");
}

TEST(GroupedExperts, RefuseWeightsOfOtherExperts) {
  const Case of = make_case({});
  GroupedExperts experts = of.grouped();
  experts.weights_TE = experts.weights_TE.slice(1, 0, 4);
  const auto call = [&] { apply_grouped_experts(of.out_TO.clone(), of.x_TD, experts); };
  EXPECT_THROW_WITH(call(), InternalError, "experts with weights");
}

}  // namespace
}  // namespace molora
