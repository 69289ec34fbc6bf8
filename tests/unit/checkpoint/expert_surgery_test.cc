// Whole tensors and slices of one linear with experts and one with a plain LoRA; what the model
// makes of them is tests/multirank/surgery_test.cc.
#include "checkpoint/expert_surgery.h"

#include <cmath>
#include <map>

#include <fmt/format.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "base/error.h"
#include "base/philox.h"
#include "support/expect_throw.h"
#include "support/surgery_configs.h"
#include "tensor/philox_tensor.h"

namespace molora {
namespace {

using testing::allowing;
using testing::dropping;
using ::testing::ElementsAre;
using ::testing::IsEmpty;
using Tensors = std::map<std::string, Tensor>;

constexpr int64_t kIn = 7;
constexpr int64_t kOut = 5;
const char* const kMixture = "layers.0.mlp.up_proj";
const char* const kLora = "layers.0.self_attn.q_proj";

RunConfig config_of(uint32_t num_experts, uint32_t lora_rank) {
  RunConfig config;
  config.mutable_adapter()->set_num_experts(num_experts);
  config.mutable_adapter()->set_lora_rank(lora_rank);
  config.mutable_adapter()->set_lora_alpha(2.0 * lora_rank);  // the scale stays 2
  return config;
}

// Numbers that depend on the name and the run alone, none of them 0.
Tensor numbers(const std::string& name, const Shape& shape, at::ScalarType type, uint64_t run) {
  Tensor tensor = at::empty(shape, type);
  fill_uniform(tensor, 1.0, philox_key(run, RandomPurpose::kAdapterInit, name, 0), 0);
  return tensor;
}

// All tensors of both linears; `run` tells a checkpoint from a run that begins.
Tensors tensors_of(const RunConfig& config, uint64_t run, at::ScalarType type = at::kFloat) {
  const int64_t experts = config.adapter().num_experts();
  const int64_t lora_rank = config.adapter().lora_rank();
  Tensors tensors;
  for (const char* kind : {"adapter/", "adamw.first/", "adamw.second/"}) {
    const auto add = [&](const std::string& name, const Shape& shape) {
      tensors[kind + name] = numbers(kind + name, shape, type, run);
    };
    add(std::string(kMixture) + ".lora_A", {experts, lora_rank, kIn});
    add(std::string(kMixture) + ".lora_B", {experts, lora_rank, kOut});
    if (experts > 1) {
      add(std::string(kMixture) + ".router.weight", {experts, kIn});
      add(std::string(kMixture) + ".router.bias", {experts});
    }
    add(std::string(kLora) + ".lora_A", {1, lora_rank, kIn});
    add(std::string(kLora) + ".lora_B", {1, lora_rank, kOut});
  }
  return tensors;
}

// Storage is shared with `tensors`.
TrainingState state_of(const Tensors& tensors) {
  TrainingState state;
  for (const auto& [name, value] : tensors) {
    auto& list = name.starts_with("adapter/") ? state.adapter : state.optimizer;
    list.push_back(whole_tensor(name, value));
  }
  return state;
}

// A checkpoint and the run that it is loaded into.
struct Resume {
  Resume(const RunConfig& stored_config, const RunConfig& wanted_config,
         at::ScalarType type = at::kFloat)
      : plan(plan_surgery(stored_config, wanted_config)),
        stored(tensors_of(stored_config, 1, type)),
        run(tensors_of(wanted_config, 2, type)),
        before(tensors_of(wanted_config, 2, type)) {}

  void load() {
    TrainingState state = state_of(run);
    report = load_with_surgery(
        plan, [&](const std::string& name) { return read(name); }, state);
  }
  Tensor read(const std::string& name) {
    ++num_read;
    return stored.at(name);
  }
  bool is_untouched() const {
    for (const auto& [name, value] : before) {
      if (!run.at(name).equal(value)) return false;
    }
    return true;
  }

  SurgeryPlan plan;
  Tensors stored;
  Tensors run;
  Tensors before;
  std::vector<std::string> report;
  int num_read = 0;
};

std::string named(const char* kind, const char* linear, const char* part) {
  return std::string(kind) + linear + part;
}

// An expert as it is right after it was added.
void make_unused(Tensors& stored, int64_t expert) {
  stored.at(named("adapter/", kMixture, ".router.weight"))[expert].zero_();
  stored.at(named("adapter/", kMixture, ".router.bias"))[expert].fill_(-30.0);
}

TEST(ExpertSurgery, CopiesWhatDoesNotChange) {
  Resume resume(config_of(3, 4), config_of(5, 4));
  resume.load();
  for (const auto& [name, value] : resume.stored) {
    const int64_t rows = value.size(0);
    EXPECT_TRUE(resume.run.at(name).slice(0, 0, rows).equal(value)) << name;
  }
  EXPECT_THAT(resume.report, IsEmpty());
}

TEST(ExpertSurgery, AddedExpertsAreOutOfEveryTokensChoice) {
  Resume resume(config_of(3, 4), config_of(5, 4));
  resume.load();
  for (const auto& [name, value] : resume.run) {
    if (name.find(kMixture) == std::string::npos) continue;
    const Tensor added = value.slice(0, 3);
    if (name == named("adapter/", kMixture, ".lora_A")) {
      EXPECT_TRUE(added.equal(resume.before.at(name).slice(0, 3))) << "as they began";
    } else if (name == named("adapter/", kMixture, ".router.bias")) {
      EXPECT_TRUE(added.equal(at::full({2}, -30.0f)));
    } else {
      EXPECT_TRUE(added.equal(at::zeros_like(added))) << name;
    }
  }
}

TEST(ExpertSurgery, TakesTheExpertsThatAreLeftInTheirOrder) {
  Resume resume(config_of(5, 4), dropping(config_of(4, 4), {0, 3}));
  make_unused(resume.stored, 0);
  make_unused(resume.stored, 3);
  resume.load();
  const int64_t from[] = {1, 2, 4};
  for (const auto& [name, value] : resume.run) {
    if (name.find(kMixture) == std::string::npos) continue;
    for (int64_t expert = 0; expert < 3; ++expert) {
      EXPECT_TRUE(value[expert].equal(resume.stored.at(name)[from[expert]])) << name;
    }
  }
  EXPECT_EQ(resume.run.at(named("adapter/", kMixture, ".router.bias"))[3].item<double>(), -30.0);
}

TEST(ExpertSurgery, RefusesToDropAnExpertThatTokensMayTake) {
  Resume resume(config_of(5, 4), dropping(config_of(4, 4), {3}));
  resume.stored.at(named("adapter/", kMixture, ".router.bias"))[3].fill_(-30.0);
  EXPECT_THROW_WITH(resume.load(), ConfigError,
                    "checkpoint.surgery.drop_experts: tokens may take expert 3 of the checkpoint "
                    "(layers.0.mlp.up_proj: expected a router bias of at most -20 and router "
                    "weights 0, got -30 and others), so that without it the adapter is another "
                    "function; to allow that set checkpoint.surgery.may_change_forward: true");
  make_unused(resume.stored, 3);
  resume.stored.at(named("adapter/", kMixture, ".router.bias"))[3].fill_(-19.0);
  EXPECT_THROW_WITH(resume.load(), ConfigError, "got -19 and 0)");
  EXPECT_TRUE(resume.is_untouched());
}

TEST(ExpertSurgery, DropsWhatItMay) {
  Resume resume(config_of(5, 4), allowing(dropping(config_of(4, 4), {3})));
  resume.load();
  const std::string name = named("adapter/", kMixture, ".lora_B");
  EXPECT_TRUE(resume.run.at(name)[3].equal(resume.stored.at(name)[4]));
}

TEST(ExpertSurgery, TheRouterGoesWithTheLastChoice) {
  RunConfig one = dropping(config_of(1, 4), {1, 2});
  Resume resume(config_of(3, 4), one);
  EXPECT_THROW_WITH(resume.load(), ConfigError, "tokens may take expert 1 of the checkpoint");
  make_unused(resume.stored, 1);
  make_unused(resume.stored, 2);
  resume.load();
  const std::string name = named("adapter/", kMixture, ".lora_A");
  EXPECT_TRUE(resume.run.at(name)[0].equal(resume.stored.at(name)[0]));
}

TEST(ExpertSurgery, AnotherScaleIsTakenOutOfB) {
  RunConfig stored = config_of(3, 4);
  RunConfig wanted = stored;
  wanted.mutable_adapter()->set_lora_alpha(32);  // scale 2 -> 8
  Resume resume(stored, wanted);
  resume.load();
  for (const char* linear : {kMixture, kLora}) {
    const auto expect = [&](const char* kind, double factor) {
      const std::string name = named(kind, linear, ".lora_B");
      EXPECT_TRUE(resume.run.at(name).equal(resume.stored.at(name) * factor)) << name;
    };
    expect("adapter/", 0.25);
    expect("adamw.first/", 4.0);
    expect("adamw.second/", 16.0);
    for (const char* kind : {"adapter/", "adamw.first/", "adamw.second/"}) {
      const std::string name = named(kind, linear, ".lora_A");
      EXPECT_TRUE(resume.run.at(name).equal(resume.stored.at(name))) << name;
    }
  }
}

TEST(ExpertSurgery, MoreRanksAreNewRowsThatAddNothingYet) {
  Resume resume(config_of(3, 4), config_of(3, 6));
  resume.load();
  for (const char* linear : {kMixture, kLora}) {
    for (const char* kind : {"adapter/", "adamw.first/", "adamw.second/"}) {
      for (const char* part : {".lora_A", ".lora_B"}) {
        const std::string name = named(kind, linear, part);
        const Tensor& value = resume.run.at(name);
        EXPECT_TRUE(value.slice(1, 0, 4).equal(resume.stored.at(name))) << name;
        const Tensor fresh = value.slice(1, 4);
        const bool is_A = name.starts_with("adapter/") && name.ends_with("A");
        EXPECT_TRUE(fresh.equal(is_A ? resume.before.at(name).slice(1, 4) : at::zeros_like(fresh)))
            << name;
      }
    }
  }
}

Tensor product(const Tensors& tensors, const char* linear, int64_t expert) {
  const Tensor lora_A = tensors.at(named("adapter/", linear, ".lora_A"))[expert].to(at::kDouble);
  const Tensor lora_B = tensors.at(named("adapter/", linear, ".lora_B"))[expert].to(at::kDouble);
  return lora_B.t().matmul(lora_A);
}

double length_of(const Tensor& tensor) { return tensor.square().sum().sqrt().item<double>(); }

// Every pair uses two of its four ranks.
void use_two_ranks(Tensors& stored) {
  for (const char* linear : {kMixture, kLora}) {
    Tensor& lora_A = stored.at(named("adapter/", linear, ".lora_A"));
    lora_A.slice(1, 2).copy_(lora_A.slice(1, 0, 2) * 0.5);
  }
}

TEST(ExpertSurgery, FewerRanksKeepTheProductsOfPairsThatUseNoMore) {
  RunConfig wanted = config_of(3, 3);
  wanted.mutable_adapter()->set_lora_alpha(3);  // scale 2 -> 1
  Resume resume(config_of(3, 4), wanted, at::kDouble);
  use_two_ranks(resume.stored);
  resume.load();
  EXPECT_THAT(resume.report,
              ElementsAre("lora_rank 4 -> 3: no pair uses more, so that nothing is lost"));
  for (const auto& [linear, expert] : {std::pair(kMixture, 0), std::pair(kMixture, 1),
                                       std::pair(kMixture, 2), std::pair(kLora, 0)}) {
    const Tensor expected = product(resume.stored, linear, expert) * 2.0;
    EXPECT_LT(length_of(product(resume.run, linear, expert) - expected),
              1e-13 * length_of(expected));
  }
}

TEST(ExpertSurgery, RanksThatNoPairUsesCanStillLearn) {
  Resume resume(config_of(3, 4), config_of(3, 3));
  use_two_ranks(resume.stored);
  resume.stored.at(named("adapter/", kMixture, ".lora_B"))[1].zero_();
  resume.load();
  const std::string a = named("adapter/", kMixture, ".lora_A");
  const std::string b = named("adapter/", kMixture, ".lora_B");
  EXPECT_TRUE(resume.run.at(a)[0][2].equal(resume.before.at(a)[0][2]));
  EXPECT_EQ(length_of(resume.run.at(b)[0][2]), 0.0);
  EXPECT_FALSE(resume.run.at(a)[0][1].equal(resume.before.at(a)[0][1]));
  EXPECT_TRUE(resume.run.at(a)[1].equal(resume.before.at(a)[1])) << "a pair that is 0";
  EXPECT_EQ(length_of(resume.run.at(b)[1]), 0.0);
}

TEST(ExpertSurgery, ForgetsTheMomentsOfRerankedPairsAlone) {
  Resume resume(config_of(3, 4), config_of(3, 3));
  use_two_ranks(resume.stored);
  resume.load();
  for (const char* kind : {"adamw.first/", "adamw.second/"}) {
    EXPECT_EQ(length_of(resume.run.at(named(kind, kMixture, ".lora_A"))), 0.0);
    EXPECT_EQ(length_of(resume.run.at(named(kind, kLora, ".lora_B"))), 0.0);
    const std::string router = named(kind, kMixture, ".router.weight");
    EXPECT_TRUE(resume.run.at(router).equal(resume.stored.at(router)));
  }
}

// The best two ranks of a pair with singular values 3, 2, 1 lose 1 / sqrt(14) of its norm.
void use_three_ranks(Tensors& stored, int64_t expert) {
  Tensor lora_A = stored.at(named("adapter/", kMixture, ".lora_A"))[expert].zero_();
  Tensor lora_B = stored.at(named("adapter/", kMixture, ".lora_B"))[expert].zero_();
  for (int64_t row = 0; row < 3; ++row) {
    lora_A[row][row + 1].fill_(3.0 - static_cast<double>(row));
    lora_B[row][row].fill_(1.0);
  }
}

TEST(ExpertSurgery, RefusesToCutOffWhatAPairUses) {
  Resume resume(config_of(3, 4), config_of(3, 2));
  use_two_ranks(resume.stored);
  use_three_ranks(resume.stored, 1);
  EXPECT_THROW_WITH(resume.load(), ConfigError,
                    "adapter.lora_rank: 1 of 4 pairs of the checkpoint use more than 2; cut down, "
                    "the worst would lose 0.27 of its norm (layers.0.mlp.up_proj, expert 1 of the "
                    "checkpoint): set it to at least 3, or to allow the loss set "
                    "checkpoint.surgery.may_change_forward: true");
  EXPECT_TRUE(resume.is_untouched());
}

TEST(ExpertSurgery, TellsWhatItWasAllowedToCutOff) {
  Resume resume(config_of(3, 4), allowing(config_of(3, 2)), at::kDouble);
  use_two_ranks(resume.stored);
  use_three_ranks(resume.stored, 1);
  resume.load();
  EXPECT_THAT(resume.report,
              ElementsAre("lora_rank 4 -> 2: largest lost share of a pair's norm 0.27 at "
                          "layers.0.mlp.up_proj, expert 1 of the checkpoint"));
  const Tensor lost = product(resume.stored, kMixture, 1) - product(resume.run, kMixture, 1);
  EXPECT_NEAR(length_of(lost), 1.0, 1e-13);
}

TEST(ExpertSurgery, RefusesToCutNumbersThatAreNotFinite) {
  Resume resume(config_of(3, 4), config_of(3, 2));
  resume.stored.at(named("adapter/", kLora, ".lora_B"))[0][0][0].fill_(std::nan(""));
  EXPECT_THROW_WITH(resume.load(), CheckpointError,
                    "tensors adapter/layers.0.self_attn.q_proj.lora_A and "
                    "adapter/layers.0.self_attn.q_proj.lora_B: expected finite numbers");
}

TEST(ExpertSurgery, RefusesTensorsThatAreNotWhatTheirConfigurationSays) {
  Resume resume(config_of(3, 4), config_of(5, 4));
  const std::string name = named("adapter/", kMixture, ".lora_A");
  resume.stored.at(name) = at::zeros({4, 4, kIn});
  EXPECT_THROW_WITH(resume.load(), CheckpointError,
                    "tensor adapter/layers.0.mlp.up_proj.lora_A: expected F32 [3, 4, 7] by the "
                    "checkpoint's configuration and this run's, got F32 [4, 4, 7]");
  resume.stored.at(name) = at::zeros({3, 4, kIn}, at::kDouble);
  EXPECT_THROW_WITH(resume.load(), CheckpointError, "expected F32 [3, 4, 7]", "got F64 [3, 4, 7]");
  EXPECT_TRUE(resume.is_untouched());
}

// Cut along experts and along columns, as ranks hold them; moments that other ranks have.
TEST(ExpertSurgery, SlicesGetTheirPartsOfTheSameWhole) {
  RunConfig wanted = config_of(6, 3);
  Resume whole(config_of(4, 4), wanted);
  use_two_ranks(whole.stored);
  whole.load();
  Resume cut(config_of(4, 4), wanted);
  use_two_ranks(cut.stored);
  for (const int64_t dim : {0, 2}) {
    for (const int64_t begin : {0, 3}) {
      TrainingState state = state_of(cut.run);
      state.optimizer.clear();
      TensorSlice slice;
      for (const TensorSlice& of : state.adapter) {
        if (of.name == named("adapter/", kMixture, ".lora_A")) slice = of;
      }
      slice.value = slice.value.slice(dim, begin, begin + 3).clone();
      slice.offset[static_cast<size_t>(dim)] = begin;
      TensorSlice elsewhere = slice;
      elsewhere.name = named("adapter/", kMixture, ".lora_B");
      elsewhere.value = Tensor();
      state.adapter = {slice, elsewhere};
      load_with_surgery(
          cut.plan, [&](const std::string& name) { return cut.read(name); }, state);
      EXPECT_TRUE(slice.value.equal(whole.run.at(slice.name).slice(dim, begin, begin + 3)))
          << dim << " from " << begin;
    }
  }
}

TEST(ExpertSurgery, ReadsNothingForTensorsThatOtherRanksHave) {
  Resume resume(config_of(4, 4), config_of(6, 4));
  TrainingState state = state_of(resume.run);
  for (TensorSlice& slice : state.optimizer) slice.value = Tensor();
  load_with_surgery(
      resume.plan, [&](const std::string& name) { return resume.read(name); }, state);
  EXPECT_EQ(resume.num_read, std::ssize(state.adapter));
}

TEST(ExpertSurgery, AStateThatIsNotThePlansIsAFault) {
  Resume resume(config_of(3, 4), config_of(5, 4));
  resume.run = tensors_of(config_of(4, 4), 2);
  EXPECT_THROW_WITH(resume.load(), InternalError, "is not what the plan makes");
  TrainingState odd;
  odd.adapter = {whole_tensor("adapter/layers.0.mlp.up_proj.lora_C", at::zeros(1))};
  EXPECT_THROW_WITH(load_with_surgery(resume.plan, {}, odd), InternalError,
                    "adapter/layers.0.mlp.up_proj.lora_C is no tensor of an adapter");
}

}  // namespace
}  // namespace molora
