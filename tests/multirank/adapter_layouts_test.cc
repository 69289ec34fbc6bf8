// Every layout holds slices of the same whole, and says rightly who else holds the same.
#include <map>

#include <gtest/gtest.h>

#include "model/adapter_placement.h"
#include "support/oracle.h"

namespace molora {
namespace {

struct Held {
  int rank;
  Parameter parameter;
};

std::vector<AdapterSet> sets_of(const testing::RunShape& shape, const Architecture& architecture,
                                const AdapterConfig& adapter) {
  const auto kv_heads = static_cast<int>(architecture.num_kv_heads);
  const MeshShape mesh =
      mesh_shape(shape.num_ranks, shape.tp, shape.ep, std::max(1, shape.tp / kv_heads));
  std::vector<AdapterSet> sets;
  for (int rank = 0; rank < shape.num_ranks; ++rank) {
    sets.emplace_back(architecture, adapter, 7, at::kFloat,
                      AdapterPlacement{mesh, rank, shape.layout.modes});
  }
  return sets;
}

std::vector<testing::RunShape> some_layouts() {
  std::vector<testing::RunShape> shapes;
  for (const int world : {1, 2, 4, 8}) {
    for (const auto& shape : testing::all_layouts(world, {1, 2, 4, 8})) {
      if (!shape.layout.has_sequence_parallel) shapes.push_back(shape);
    }
  }
  return shapes;
}

TEST(AdapterPlacement, EveryLayoutBeginsWithTheSameBits) {
  const Architecture architecture =
      parse_architecture(testing::model_for(2).dump(), "config.json", {});
  const AdapterConfig adapter = testing::oracle_adapter(8, 2);
  const AdapterSet whole(architecture, adapter, 7, at::kFloat);
  for (const auto& shape : some_layouts()) {
    testing::WholeTensors together;
    for (const AdapterSet& set : sets_of(shape, architecture, adapter)) {
      for (const Parameter& parameter : set.parameters()) {
        together.add(parameter, parameter.value.detach());
      }
    }
    for (const Parameter& parameter : whole.parameters()) {
      EXPECT_TRUE(together.tensors().at(parameter.name).equal(parameter.value.detach()))
          << testing::text_of(shape) << ": " << parameter.name;
    }
  }
}

// The ranks with the same slice of a parameter are exactly those that its gradient is summed over:
// one more would be counted twice, one less would part.
TEST(AdapterPlacement, TheSyncGroupIsTheSetOfHolders) {
  const Architecture architecture =
      parse_architecture(testing::model_for(2).dump(), "config.json", {});
  const AdapterConfig adapter = testing::oracle_adapter(8, 2);
  for (const auto& shape : some_layouts()) {
    const auto kv_heads = static_cast<int>(architecture.num_kv_heads);
    const MeshShape mesh =
        mesh_shape(shape.num_ranks, shape.tp, shape.ep, std::max(1, shape.tp / kv_heads));
    std::map<std::pair<std::string, std::vector<int64_t>>, std::vector<Held>> holders;
    const auto sets = sets_of(shape, architecture, adapter);
    for (int rank = 0; rank < shape.num_ranks; ++rank) {
      for (const Parameter& p : sets[static_cast<size_t>(rank)].parameters()) {
        holders[{p.name, p.offset}].push_back({rank, p});
      }
    }
    for (const auto& [key, held] : holders) {
      const Axis axis = sync_axis(held.front().parameter.sync);
      std::vector<int> ranks;
      for (const Held& one : held) ranks.push_back(one.rank);
      std::vector<int> group;
      for (int rank = 0; rank < shape.num_ranks; ++rank) {
        if (group_of(mesh, axis, rank) == group_of(mesh, axis, ranks.front()))
          group.push_back(rank);
      }
      EXPECT_EQ(ranks, group) << testing::text_of(shape) << ": " << key.first;
    }
  }
}

TEST(AdapterPlacement, AnExpertBeginsAlikeInModelsWithMoreOfThem) {
  const Architecture architecture =
      parse_architecture(testing::model_for(2).dump(), "config.json", {});
  const AdapterSet four(architecture, testing::oracle_adapter(4, 2), 7, at::kFloat);
  const AdapterSet eight(architecture, testing::oracle_adapter(8, 2), 7, at::kFloat);
  const LinearAdapter& a = *four.find(1, LinearKind::kDown);
  const LinearAdapter& b = *eight.find(1, LinearKind::kDown);
  EXPECT_TRUE(a.lora_A.equal(b.lora_A.slice(0, 0, 4)));
  EXPECT_TRUE(a.router_weight.equal(b.router_weight.slice(0, 0, 4)));
}

}  // namespace
}  // namespace molora
