// What the ranks really send against what the planner says: every layout, every axis and kind of
// collective, within 1 %.
#include <mutex>

#include "plan/traffic_plan.h"
#include "support/oracle.h"

namespace molora {
namespace {

using testing::all_layouts;
using testing::RunShape;

constexpr double kTolerance = 0.01;

// Of one step of one micro-step, over all ranks.
struct Sent {
  Traffic traffic;
  std::array<RemotePairs, kNumLinearGroups> pairs;  // by group and layer, as the tokens were routed
  int64_t tokens = 0;
  int64_t supervised = 0;
  double statistics = 0.0;  // bytes of the sums of losses, counts and norms: not part of the plan
};

// The (token, other ep rank) pairs of this rank's exchanges.
void add_pairs(testing::TrainedModel& run, Sent& sent) {
  const auto& choices = run.step().choices().front().chosen_TK;
  const int ep = run.mesh().shape().ep;
  const int64_t layers = run.loaded().architecture().num_layers;
  for (const LinearGroup group : kLinearGroups) {
    auto& by_layer = sent.pairs[static_cast<size_t>(group)];
    by_layer.resize(static_cast<size_t>(layers), 0.0);
    for (int64_t layer = 0; layer < layers; ++layer) {
      at::Tensor needed;
      for (const LinearKind kind : kLinearKinds) {
        const LinearAdapter* adapter = run.adapters().find(layer, kind);
        if (linear_group(kind) != group || adapter == nullptr || !adapter->spec.has_router())
          continue;
        const at::Tensor chosen = choices[static_cast<size_t>(adapter->router_index)];
        const at::Tensor ranks =
            at::zeros({chosen.size(0), ep}, at::kBool)
                .scatter_(1, at::floor_divide(chosen, adapter->spec.num_experts / ep), true);
        needed = needed.defined() ? needed.logical_or(ranks) : ranks;
      }
      if (!needed.defined()) continue;
      const auto own = needed.select(1, run.mesh().ep_rank()).sum().item<int64_t>();
      by_layer[static_cast<size_t>(layer)] +=
          static_cast<double>(needed.sum().item<int64_t>() - own);
    }
  }
}

// A sum of `numbers` fp64 or int64 over the world (comm/fixed_order_sum.h pads it to equal chunks).
double sum_bytes(int64_t numbers, int world) {
  const int64_t chunk = (numbers + world - 1) / world;
  return 2.0 * static_cast<double>(chunk) * 8.0 * (world - 1) * world;
}

Sent run_one_step(const std::filesystem::path& model, const AdapterConfig& adapter,
                  const RunShape& shape) {
  Sent sent;
  std::mutex mutex;
  run_rank_threads(shape.num_ranks, [&](Communicator& world) {
    const auto kv = static_cast<int>(read_architecture(model, {}).num_kv_heads);
    const MeshShape mesh =
        mesh_shape(shape.num_ranks, shape.tp, shape.ep, std::max(1, shape.tp / kv));
    TrainConfig train;
    train.set_micro_batch_size(1000);
    testing::TrainedModel run(model, adapter, Mesh(world, mesh), shape.layout, shape.type,
                              {.train = train});
    testing::randomize(run.adapters(), 21, 0.1);
    const Traffic before = run.mesh().traffic();
    const StepRows rows =
        deal_rows(testing::random_rows(9, 0, 37), run.mesh().dp_rank(), mesh.dp, 1000);
    run.step().run(0, rows, 1e-3);
    const Traffic mine = run.mesh().traffic() - before;
    const std::lock_guard<std::mutex> lock(mutex);
    for (size_t axis = 0; axis < kNumAxes; ++axis) {
      for (size_t kind = 0; kind < kNumCollectiveKinds; ++kind) {
        sent.traffic.counts[axis][kind].bytes += mine.counts[axis][kind].bytes;
      }
    }
    sent.tokens = rows.step_tokens;
    sent.supervised = rows.step_supervised;
    add_pairs(run, sent);
    const int64_t routers = run.adapters().num_routers();
    const auto parameters = static_cast<int64_t>(run.adapters().parameters().size());
    sent.statistics =
        sum_bytes(4 + 2 * routers * adapter.num_experts() + routers, shape.num_ranks) +
        sum_bytes(parameters, shape.num_ranks);
  });
  return sent;
}

PlanInput input_of(const Architecture& architecture, const AdapterConfig& adapter,
                   const RunShape& shape, const Sent& sent) {
  PlanInput input;
  input.architecture = architecture;
  input.adapter = adapter;
  input.mesh = mesh_shape(shape.num_ranks, shape.tp, shape.ep,
                          std::max(1, shape.tp / static_cast<int>(architecture.num_kv_heads)));
  input.is_sequence_parallel = shape.layout.has_sequence_parallel;
  input.is_gpu = shape.layout.has_fixed_shapes;
  input.activation_bytes = static_cast<int64_t>(c10::elementSize(shape.type));
  input.master_bytes = shape.type == at::kDouble ? 8 : 4;
  input.tokens = sent.tokens;
  input.supervised = sent.supervised;
  return input;
}

class TrafficCounters : public ::testing::Test {
 protected:
  TrafficCounters() {
    testing::write_tiny_model(folder_.path(), testing::model_for(2));
    architecture_ = read_architecture(folder_.path(), {});
    adapter_.mutable_router()->set_balance_loss_coef(0.0);
    adapter_.mutable_router()->set_z_loss_coef(0.0);
  }

  void expect_as_planned(const RunShape& shape) {
    const Sent sent = run_one_step(folder_.path(), adapter_, shape);
    const PlanInput input = input_of(architecture_, adapter_, shape, sent);
    std::vector<TrafficItem> items = micro_step_traffic(input, shape.layout.modes, sent.pairs);
    for (const TrafficItem& item : step_traffic(input, shape.layout.modes)) items.push_back(item);
    for (const Axis axis : kAxes) {
      for (const CollectiveKind kind : {CollectiveKind::kAllToAll, CollectiveKind::kAllGather}) {
        const double planned = bytes_sent(items, {.axis = axis, .kind = kind});
        auto got = static_cast<double>(sent.traffic.at(axis, kind).bytes);
        // Statistics travel as an all-to-all and an all-gather of equal size.
        if (axis == Axis::kAll) got -= sent.statistics / 2;
        EXPECT_LE(std::abs(got - planned), kTolerance * planned)
            << testing::text_of(shape) << ": " << axis_name(axis) << " " << collective_name(kind)
            << " sent " << got << ", planned " << planned;
      }
    }
  }

  testing::TempFolder folder_;
  Architecture architecture_;
  AdapterConfig adapter_ = testing::oracle_adapter(8, 2);
};

TEST_F(TrafficCounters, EqualThePlanOnTwoRanks) {
  for (const RunShape& shape : all_layouts(2, {1, 2})) expect_as_planned(shape);
}

TEST_F(TrafficCounters, EqualThePlanOnFourRanks) {
  for (const RunShape& shape : all_layouts(4, {1, 2, 4})) expect_as_planned(shape);
}

TEST_F(TrafficCounters, EqualThePlanInBf16) {
  for (RunShape shape : all_layouts(4, {2})) {
    shape.type = at::kBFloat16;
    expect_as_planned(shape);
  }
}

// As on GPUs, whose host is not to know the routing.
TEST_F(TrafficCounters, EqualThePlanWithFixedShapes) {
  for (RunShape shape : all_layouts(4, {2, 4})) {
    if (shape.layout.modes.of(LinearGroup::kDown) != ExchangeMode::kRank) continue;
    shape.layout.has_fixed_shapes = true;
    expect_as_planned(shape);
  }
}

TEST_F(TrafficCounters, EqualThePlanOnEightRanks) {
  for (const RunShape& shape : all_layouts(8, {2, 8})) expect_as_planned(shape);
}

// Experts that are whole MLPs move what the base does, and with gather their weights.
TEST_F(TrafficCounters, EqualThePlanWithWholeMlps) {
  adapter_.mutable_router()->set_scope(RouterConfig::block);
  for (const RunShape& shape : all_layouts(4, {1, 2, 4})) {
    const ExchangeMode mode = shape.layout.modes.of(LinearGroup::kDown);
    if (mode == ExchangeMode::kRank || mode == ExchangeMode::kTokens) continue;
    expect_as_planned(shape);
  }
}

// The point of `rank`: for each token and linear the values of its chosen experts travel to the
// other tp ranks, lora_rank wide, and nothing else of the adapter.
TEST_F(TrafficCounters, RankModeMovesBottleneckValuesAlone) {
  RunShape shape;
  shape.num_ranks = 4;
  shape.tp = 4;
  shape.layout.modes = all_groups(ExchangeMode::kRank);
  AdapterConfig one = testing::frozen_adapters();
  one.mutable_targets()->set_up_proj(TargetsConfig::experts);
  one.set_num_experts(8);
  one.set_experts_per_token(2);
  one.set_lora_rank(3);
  AdapterConfig none = testing::frozen_adapters();
  none.mutable_targets()->set_up_proj(TargetsConfig::lora);  // replicated: moves nothing
  none.set_lora_dropout(0.0);
  const auto forward_and_back = [&](const AdapterConfig& adapter) {
    return static_cast<double>(
        run_one_step(folder_.path(), adapter, shape).traffic.bytes(Axis::kTensor));
  };
  const Sent sent = run_one_step(folder_.path(), one, shape);
  const double values = static_cast<double>(sent.tokens) * 2 * 3;  // T k r, of each of two layers
  const double expected = 2 * values * 8 * (shape.tp - 1) * 2;     // fp64, to 3 others, and back
  EXPECT_DOUBLE_EQ(forward_and_back(one) - forward_and_back(none), expected);
}

}  // namespace
}  // namespace molora
