// Every layout against one process, on rank threads (support/oracle.h says what is compared).
//
// Each layout of 1, 2, 3, 4, 6 and 8 ranks runs on a GQA model with tied and with untied head, with
// dropout, balance loss and z-loss on, packed rows, token counts that divide by nothing and, with
// more dp ranks than rows, ranks without any. The special cases after that run on a few layouts of
// each mode.
#include "support/oracle.h"

namespace molora {
namespace {

using testing::all_layouts;
using testing::model_for;
using testing::Oracle;
using testing::oracle_adapter;
using testing::OracleCase;
using testing::random_rows;
using testing::RunShape;

enum class Head { kTied, kUntied };

OracleCase by_two(Head head) {
  OracleCase of;
  of.model = model_for(2);
  of.model["tie_word_embeddings"] = head == Head::kTied;
  return of;
}

OracleCase by_three(Head head) {
  OracleCase of;
  of.model = model_for(3);
  of.model["tie_word_embeddings"] = head == Head::kTied;
  of.adapter = oracle_adapter(6, 2);
  return of;
}

// What the comparison itself must not overlook.
Parameter slice_of_four(const std::string& name, int64_t begin) {
  return {name, at::empty({2}), {4}, {begin}, SyncGroup::kAll};
}

TEST(OracleComparison, AMissingSliceIsADifferenceWhateverComesAfterIt) {
  testing::WholeTensors whole;
  testing::WholeTensors missing;
  for (const char* name : {"a", "b"}) {
    for (const int64_t begin : {0, 2}) {
      whole.add(slice_of_four(name, begin), at::ones({2}));
      if (std::string(name) == "a" && begin == 2) continue;
      missing.add(slice_of_four(name, begin), at::ones({2}));
    }
  }
  EXPECT_EQ(testing::difference(whole, whole), 0.0);
  EXPECT_TRUE(std::isnan(testing::difference(missing, whole)));
}

TEST(OracleComparison, ReplicasThatDifferAreAFault) {
  testing::WholeTensors tensors;
  tensors.add(slice_of_four("a", 0), at::ones({2}));
  tensors.add(slice_of_four("a", 0), at::ones({2}));
  EXPECT_EQ(tensors.fault(), "");
  tensors.add(slice_of_four("a", 0), at::full({2}, 1.0 + 1e-7));
  EXPECT_EQ(tensors.fault(), "a: replicas differ");
  EXPECT_TRUE(std::isnan(testing::difference(tensors, tensors)));
}

TEST(OracleWorld1, EveryMode) { Oracle(by_two(Head::kTied)).expect(all_layouts(1, {1})); }

TEST(OracleWorld2, EveryLayoutTied) { Oracle(by_two(Head::kTied)).expect(all_layouts(2, {1, 2})); }
TEST(OracleWorld2, EveryLayoutUntied) {
  Oracle(by_two(Head::kUntied)).expect(all_layouts(2, {1, 2}));
}

TEST(OracleWorld3, EveryLayoutTied) {
  Oracle(by_three(Head::kTied)).expect(all_layouts(3, {1, 3}));
}
TEST(OracleWorld3, EveryLayoutUntied) {
  Oracle(by_three(Head::kUntied)).expect(all_layouts(3, {1, 3}));
}

TEST(OracleWorld4, EveryLayoutTied) {
  Oracle(by_two(Head::kTied)).expect(all_layouts(4, {1, 2, 4}));
}
TEST(OracleWorld4, EveryLayoutUntied) {
  Oracle(by_two(Head::kUntied)).expect(all_layouts(4, {1, 2, 4}));
}

TEST(OracleWorld6, EveryLayoutTied) {
  Oracle(by_three(Head::kTied)).expect(all_layouts(6, {1, 3, 6}));
}
TEST(OracleWorld6, EveryLayoutUntied) {
  Oracle(by_three(Head::kUntied)).expect(all_layouts(6, {1, 3, 6}));
}

TEST(OracleWorld8, EveryLayoutTied) {
  Oracle(by_two(Head::kTied)).expect(all_layouts(8, {1, 2, 4, 8}));
}
TEST(OracleWorld8, EveryLayoutUntied) {
  Oracle(by_two(Head::kUntied)).expect(all_layouts(8, {1, 2, 4, 8}));
}

// A layout of each mode that uses all axes, with sequence parallelism and without.
std::vector<RunShape> sample_layouts() {
  std::vector<RunShape> shapes;
  for (const bool sp : {false, true}) {
    for (const ExchangeMode mode : kExchangeModes) {
      for (const auto& [ranks, tp, ep] :
           {std::tuple(4, 2, 4), std::tuple(4, 2, 2), std::tuple(4, 4, 2), std::tuple(2, 1, 2)}) {
        if (sp && tp == 1) continue;
        RunShape shape;
        shape.num_ranks = ranks;
        shape.tp = tp;
        shape.ep = ep;
        shape.layout.has_sequence_parallel = sp;
        shape.layout.modes = all_groups(mode);
        shapes.push_back(shape);
      }
    }
  }
  return shapes;
}

TEST(OracleCases, SinglePrecision) {
  OracleCase of;
  of.type = at::kFloat;
  Oracle(of).expect(sample_layouts());
}

TEST(OracleCases, OneExpertPerToken) {
  OracleCase of;
  of.adapter = oracle_adapter(8, 1);
  Oracle(of).expect(sample_layouts());
}

TEST(OracleCases, EveryExpertForEveryToken) {
  OracleCase of;
  of.adapter.mutable_router()->set_gate(RouterConfig::dense_softmax);
  Oracle(of).expect(sample_layouts());
}

// Seven of eight experts, and the ranks that hold them, have no tokens at all.
TEST(OracleCases, AllTokensToOneExpert) {
  OracleCase of;
  of.adapter = oracle_adapter(8, 1);
  of.prepare = [](AdapterSet& adapters) {
    const at::NoGradGuard no_grad;
    for (const LinearAdapter& linear : adapters.linears()) {
      if (!linear.spec.has_router()) continue;
      linear.router_bias.detach()[2] = 50.0;
    }
  };
  Oracle(of).expect(sample_layouts());
}

TEST(OracleCases, OneExpertNobodyChooses) {
  OracleCase of;
  of.prepare = [](AdapterSet& adapters) {
    const at::NoGradGuard no_grad;
    for (const LinearAdapter& linear : adapters.linears()) {
      if (linear.spec.has_router()) linear.router_bias.detach()[5] = -50.0;
    }
  };
  Oracle(of).expect(sample_layouts());
}

// Two or three tokens on up to eight tp ranks: some have no token, the vocabulary still is shared.
TEST(OracleCases, FewerTokensThanTpRanks) {
  OracleCase of;
  of.rows = [](int64_t step, int32_t vocab) {
    std::vector<TrainRow> rows = random_rows(3, 1000 * step, vocab);
    for (TrainRow& row : rows) {
      row.resize(1);
      row[0].ids.resize(2);
      row[0].supervised = {0, 1};
    }
    return rows;
  };
  of.micro_batch_size = 1;
  std::vector<RunShape> shapes = sample_layouts();
  for (RunShape& shape : all_layouts(8, {8})) shapes.push_back(shape);
  Oracle(of).expect(shapes);
}

TEST(OracleCases, OneRowForEightDataRanks) {
  OracleCase of;
  of.rows = [](int64_t step, int32_t vocab) { return random_rows(1, 1000 * step, vocab); };
  Oracle(of).expect(all_layouts(8, {1, 2}));
}

TEST(OracleCases, RecomputedActivations) {
  OracleCase of;
  of.recompute = TrainConfig::full;
  Oracle(of).expect(sample_layouts());
  of.recompute = TrainConfig::selective;
  Oracle(of).expect(sample_layouts());
}

// Qwen3's norms of heads, and the biases that Llama configurations may ask for.
TEST(OracleCases, OtherFamilies) {
  OracleCase of;
  of.model["architectures"] = {"Qwen3ForCausalLM"};
  of.model["model_type"] = "qwen3";
  Oracle(of).expect(sample_layouts());
  of.model["architectures"] = {"LlamaForCausalLM"};
  of.model["model_type"] = "llama";
  of.model["attention_bias"] = true;
  of.model["mlp_bias"] = true;
  Oracle(of).expect(sample_layouts());
  of.model = model_for(2);
  of.model["architectures"] = {"MistralForCausalLM"};
  of.model["model_type"] = "mistral";
  of.model["sliding_window"] = 5;
  Oracle(of).expect(sample_layouts());
}

// Another mode for each group, all at once.
TEST(OracleCases, MixedModes) {
  std::vector<RunShape> shapes;
  for (const bool sp : {false, true}) {
    for (size_t first = 0; first < kNumLinearGroups; ++first) {
      RunShape shape;
      shape.num_ranks = 4;
      shape.tp = 2;
      shape.ep = 4;
      shape.layout.has_sequence_parallel = sp;
      for (size_t group = 0; group < kNumLinearGroups; ++group) {
        shape.layout.modes.by_group[group] = kExchangeModes[(first + group) % 4];
      }
      shapes.push_back(shape);
    }
  }
  Oracle(OracleCase{}).expect(shapes);
}

// The optimizer's state whole on every rank or shared out: the same bits.
TEST(OracleCases, ShardedOptimizerHasTheSameBits) {
  const Oracle oracle{OracleCase{}};
  for (RunShape shape : sample_layouts()) {
    shape.optimizer = OptimizerPlacement::kSharded;
    const auto sharded = oracle.run(shape);
    shape.optimizer = OptimizerPlacement::kReplicated;
    const auto replicated = oracle.run(shape);
    EXPECT_EQ(testing::compare(*sharded, *replicated, 0.0), "") << testing::text_of(shape);
  }
}

}  // namespace
}  // namespace molora
