#include "plan/step_products.h"

#include <gtest/gtest.h>

#include "support/plan_shapes.h"

namespace molora {
namespace {

using testing::hand_input;

const MeshShape kAlone = mesh_shape(1, 1, 1);

// q, k, v, o, gate, up, down of the model computed by hand.
constexpr int64_t kLayerParameters = 8 * 8 + 2 * 8 * 4 + 8 * 8 + 3 * 8 * 12;

int64_t parameters_in(const std::vector<StepProduct>& products, ProductKind kind) {
  int64_t sum = 0;
  for (const StepProduct& of : products) {
    if (of.kind == kind && !of.is_head) sum += of.in * of.out * of.count;
  }
  return sum;
}

TEST(StepProducts, HaveEveryLinearForward) {
  const auto products = step_products(hand_input(kAlone), 512);
  EXPECT_EQ(parameters_in(products, ProductKind::kForward), 2 * kLayerParameters);
  for (const StepProduct& of : products) EXPECT_EQ(of.rows, of.is_head ? 6 : 20);
}

TEST(StepProducts, NeedNoGradientBelowTheLowestAdapter) {
  // The first layer's q, k and v read the embedding; all else lies above an adapter.
  EXPECT_EQ(parameters_in(step_products(hand_input(kAlone), 512), ProductKind::kInputGradient),
            2 * kLayerParameters - (8 * 8 + 2 * 8 * 4));
  const PlanInput mlp_only =
      hand_input(kAlone, {"adapter.targets.q_proj=frozen", "adapter.targets.k_proj=frozen",
                          "adapter.targets.v_proj=frozen", "adapter.targets.o_proj=frozen",
                          "adapter.targets.gate_proj=frozen", "adapter.targets.up_proj=frozen"});
  EXPECT_EQ(parameters_in(step_products(mlp_only, 512), ProductKind::kInputGradient),
            kLayerParameters);
}

TEST(StepProducts, PutEqualShapesTogether) {
  // q and o are alike, k and v, gate and up; forward and backward, and the head.
  EXPECT_EQ(step_products(hand_input(kAlone), 512).size(), 2U * 4 + 2);
}

TEST(StepProducts, CutTheHeadIntoChunks) {
  std::vector<int64_t> rows;
  for (const StepProduct& of : step_products(hand_input(kAlone), 4)) {
    if (of.is_head && of.kind == ProductKind::kForward) rows.push_back(of.rows);
  }
  EXPECT_EQ(rows, (std::vector<int64_t>{4, 2}));
}

TEST(StepProducts, AreSharedOutByTensorParallelism) {
  const auto products = step_products(hand_input(mesh_shape(2, 2, 1)), 512);
  EXPECT_EQ(parameters_in(products, ProductKind::kForward), kLayerParameters);
}

TEST(UsefulFlops, AreFourPerParameterAndToken) {
  const UsefulFlops flops = useful_flops(hand_input(kAlone), {});
  EXPECT_DOUBLE_EQ(flops.base_forward, 2.0 * 20 * 2 * kLayerParameters);
  EXPECT_DOUBLE_EQ(flops.base_gradient, 2.0 * 20 * (2 * kLayerParameters - (8 * 8 + 2 * 8 * 4)));
  EXPECT_DOUBLE_EQ(flops.head, 2.0 * 2 * 6 * 8 * 10);
  EXPECT_DOUBLE_EQ(flops.base_and_head(), flops.base_forward + flops.base_gradient + flops.head);
}

TEST(UsefulFlops, CountAttentionAndAdaptersBesideThem) {
  const PlanInput input = hand_input(kAlone);
  const UsefulFlops flops = useful_flops(input, {});
  // 20 tokens that see 10 on average, forward once and backward twice; two layers.
  EXPECT_DOUBLE_EQ(flops.attention, 2 * 3 * 4.0 * 20 * 10 * 8);
  EXPECT_GT(flops.adapters, 0);
}

TEST(UsefulFlops, DoNotGrowWithRecomputation) {
  const UsefulFlops once = useful_flops(hand_input(kAlone), {});
  const UsefulFlops again =
      useful_flops(hand_input(kAlone, {"train.activation_checkpointing=full"}), {});
  EXPECT_EQ(again.base_and_head(), once.base_and_head());
  EXPECT_EQ(again.adapters, once.adapters);
  EXPECT_EQ(again.attention, once.attention);
}

}  // namespace
}  // namespace molora
