// How many bytes the ranks send each other, predicted: what the counters of a run must show.
//
// Formulas per micro-step, summed over all ranks. T tokens and N supervised tokens over all
// data-parallel ranks, D hidden, t = tp, p = ep, b bytes of an activation, w bytes of a master
// value. A sum over n bytes is an all-to-all of n (t - 1) and an all-gather of n (t - 1)
// (comm/fixed_order_sum.h); a reduce-scatter is the first alone. `sp`: sequence parallel.
//
//   column input     backward sum T D b           sp: all-gather T D b (t-1), back the same
//   row output       sum T D b                    sp: reduce-scatter T D b (t-1), back all-gather
//   embedding        sum T D b                    sp: reduce-scatter
//   loss             all-gather 3 N w t (t-1); states: backward sum N D b, or sp: all-gather
//                    N D b (t-1), back reduce-scatter
//   bottleneck       replicate, gather, column, sp: all-gather T E r b (t-1), back the same
//                    rank, column: all-gather T k r b (t-1); row: reduce-scatter; back the
//                    reverse; on GPUs sum T k r b, back the same
//   router logits    all modes but tokens, row: sum T E w, back the same
//   token counts     tokens: 8 p (p-1) per group of linears and expert-parallel group
//   dispatch rows    tokens: M in b, back the same (M: pairs of token and remote destination)
//   dispatch gates   tokens: M w E/p per linear, back the same; with dropout 16 M more, one way
//   combine rows     tokens: M b (sum of out over the group's expert linears), back the same
//   tokens reshape   tokens, column: T out b (t-1)/t per linear, once per copy of key-value heads;
//                    row: T in b (t-1)/t per group; back the same
//   expert weights   gather: E r (in held + out held) b (p-1) per linear and expert-parallel group,
//                    back the same
//
// Experts that are whole MLPs (router.scope block) have column inputs, row outputs and, with
// gather, expert weights alone. The backward pass of what nothing before it is trained for does not
// exist (the input of layer 0). Not counted: statistics of routers and losses (a few numbers a
// step).
#pragma once

#include <array>
#include <optional>
#include <vector>

#include "plan/plan_input.h"

namespace molora {

enum class Pass {
  kForward,
  kRecompute,  // the forward pass of the layers, once more (activation_checkpointing full)
  kBackward,
  kStep,  // once a step, not in a micro-step
};
constexpr std::array<Pass, 4> kPasses = {Pass::kForward, Pass::kRecompute, Pass::kBackward,
                                         Pass::kStep};
const char* pass_name(Pass pass);

enum class Purpose {
  kColumnInput,
  kRowOutput,
  kEmbedding,
  kLoss,
  kBottleneck,
  kRouterLogits,
  kTokenCounts,
  kDispatchRows,
  kDispatchGates,
  kCombineRows,
  kTokensReshape,
  kExpertWeights,
  kGradients,   // sums of gradients, once a step
  kParameters,  // updated parameters, with a sharded optimizer
};
constexpr size_t kNumPurposes = 14;
// "column input", ...
const char* purpose_name(Purpose purpose);

struct TrafficItem {
  Purpose purpose = Purpose::kColumnInput;
  Pass pass = Pass::kForward;
  Axis axis = Axis::kTensor;
  CollectiveKind kind = CollectiveKind::kAllToAll;
  double calls = 0;  // on each rank
  double bytes = 0;  // sent, over all ranks; whole unless it is an expected value
};

// Sums over the items that agree with every value given.
struct TrafficFilter {
  std::optional<Purpose> purpose;
  std::optional<Pass> pass;
  std::optional<Axis> axis;
  std::optional<CollectiveKind> kind;
};
double bytes_sent(const std::vector<TrafficItem>& items, const TrafficFilter& filter = {});
double calls_made(const std::vector<TrafficItem>& items, const TrafficFilter& filter = {});

// M of one layer: pairs of a token and a rank other than the one that sends it, where at least one
// of the experts chosen for it by the group's linears lives. The expected value when every router
// chooses k experts with equal chances, independently of the others.
double expected_remote_pairs(const PlanInput& input, LinearGroup group);

// M of each layer, as it was; empty: the expected value.
using RemotePairs = std::vector<double>;

// Of one group's adapters in one micro-step, all layers. Items that differ in nothing but numbers
// are added up, here and below. pairs: one entry per layer, or empty.
std::vector<TrafficItem> group_traffic(const PlanInput& input, LinearGroup group, ExchangeMode mode,
                                       const RemotePairs& pairs = {});

// Of the base, embedding and loss in one micro-step.
std::vector<TrafficItem> base_traffic(const PlanInput& input);

// Of a whole micro-step. pairs: by group.
std::vector<TrafficItem> micro_step_traffic(
    const PlanInput& input, const ExchangeModes& modes,
    const std::array<RemotePairs, kNumLinearGroups>& pairs = {});

// Of what is done once a step: every gradient is summed over the ranks that hold its parameter. Of
// one group's parameters, and of all, which travel together.
std::vector<TrafficItem> group_step_traffic(const PlanInput& input, LinearGroup group,
                                            ExchangeMode mode);
std::vector<TrafficItem> step_traffic(const PlanInput& input, const ExchangeModes& modes);

}  // namespace molora
