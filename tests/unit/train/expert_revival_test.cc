#include "train/expert_revival.h"

#include <map>

#include <gtest/gtest.h>

#include "support/temp_folder.h"
#include "support/tiny_model.h"
#include "support/training_run.h"

namespace molora {
namespace {

class ExpertRevival : public ::testing::Test {
 protected:
  ExpertRevival() {
    testing::write_tiny_model(folder_.path(), testing::tiny_config());
    config_.set_num_experts(5);
    config_.mutable_router()->set_bias_update_rate(0.1);
    config_.add_frozen_experts(4);
    make();
  }

  void make() {
    trained_.emplace(folder_.path(), config_, Mesh::single(), testing::LoadedLayout{}, at::kDouble,
                     testing::TrainedModel::Options{});
    testing::randomize(trained_->adapters(), 21, 0.1);
    for (const Tensor& moment : trained_->optimizer().first_moments()) moment.fill_(0.5);
    for (const Tensor& moment : trained_->optimizer().second_moments()) moment.fill_(0.25);
  }

  void revive(int64_t step, uint64_t seed = 9) {
    revive_experts({trained_->adapters(), trained_->optimizer(), trained_->mesh()},
                   {{.router = 1, .source = 2, .dead = {0, 3, 4}}}, seed, step);
  }
  std::map<std::string, Tensor> values() const {
    std::map<std::string, Tensor> all;
    for (const Parameter& parameter : trained_->adapters().parameters()) {
      all[parameter.name] = parameter.value.detach().clone();
    }
    return all;
  }
  std::string path() const {
    for (const LinearAdapter& linear : trained_->adapters().linears()) {
      if (linear.router_index == 1) return linear.path;
    }
    return {};
  }

  testing::TempFolder folder_;
  AdapterConfig config_;
  mutable std::optional<testing::TrainedModel> trained_;
};

TEST_F(ExpertRevival, DeadExpertsAndTheirRowsAreNearTheSourceAndEachOther) {
  const auto before = values();
  revive(6);
  for (const auto& [name, value] : values()) {
    const Tensor& old = before.at(name);
    if (!name.starts_with(path() + ".")) {
      EXPECT_TRUE(value.equal(old)) << name << " is of another router";
      continue;
    }
    for (const int64_t kept : {1, 2, 4}) EXPECT_TRUE(value[kept].equal(old[kept])) << name;
    const bool is_bias = name.ends_with("bias");
    for (const int64_t dead : {0, 3}) {
      if (is_bias) {
        EXPECT_TRUE(value[dead].equal(old[2])) << name;
        continue;
      }
      const Tensor change = value[dead] / old[2] - 1.0;
      EXPECT_LT(change.abs().max().item<double>(), 0.06) << name;
      EXPECT_NEAR(change.std().item<double>(), 0.01, 0.006) << name;
    }
    EXPECT_EQ(value[0].equal(value[3]), is_bias) << name;
  }
}

// One router for gate, up and down: all three parts of an expert begin anew with its rows.
TEST_F(ExpertRevival, AnExpertThatIsAWholeMlpBeginsAnewAsAWhole) {
  config_.mutable_router()->set_scope(RouterConfig::block);
  make();
  const auto before = values();
  revive(6);
  size_t num_changed = 0;
  for (const auto& [name, value] : values()) {
    const Tensor& old = before.at(name);
    if (!name.starts_with("layers.1.mlp.")) {
      EXPECT_TRUE(value.equal(old)) << name << " is of another router";
      continue;
    }
    ++num_changed;
    EXPECT_TRUE(value[1].equal(old[1])) << name;
    EXPECT_FALSE(value[0].equal(old[0])) << name;
    EXPECT_LT((value[0] / old[2] - 1.0).abs().max().item<double>(), 0.06) << name;
  }
  EXPECT_EQ(num_changed, 9u);  // A and B of three linears; weight, bias and choice bias
}

TEST_F(ExpertRevival, MomentsOfWhatBeginsAnewAreZero) {
  revive(6);
  for (size_t i = 0; i < trained_->optimizer().parameters().size(); ++i) {
    const std::string& name = trained_->optimizer().parameters()[i].name;
    const bool is_of_router = name.starts_with(path() + ".");
    for (const auto& [moments, value] :
         {std::pair(&trained_->optimizer().first_moments(), 0.5),
          std::pair(&trained_->optimizer().second_moments(), 0.25)}) {
      const Tensor& moment = (*moments)[i];
      for (int64_t row = 0; row < moment.size(0); ++row) {
        const bool is_new = is_of_router && (row == 0 || row == 3);
        EXPECT_TRUE((moment[row] == (is_new ? 0.0 : value)).all().item<bool>())
            << name << " row " << row;
      }
    }
  }
}

TEST_F(ExpertRevival, ChangesDependOnSeedAndStepAlone) {
  const auto restore = [&](const std::map<std::string, Tensor>& all) {
    for (const Parameter& parameter : trained_->adapters().parameters()) {
      parameter.value.detach().copy_(all.at(parameter.name));
    }
  };
  const auto before = values();
  const auto after = [&](int64_t step, uint64_t seed) {
    restore(before);
    revive(step, seed);
    return values().at(path() + ".lora_A");
  };
  const Tensor one = after(6, 9);
  EXPECT_TRUE(after(6, 9).equal(one));
  EXPECT_FALSE(after(7, 9).equal(one));
  EXPECT_FALSE(after(6, 10).equal(one));
}

TEST_F(ExpertRevival, TheAThatAllExpertsHaveStaysAsItIs) {
  config_.clear_frozen_experts();
  config_.set_shared_a(true);
  trained_.emplace(folder_.path(), config_, Mesh::single(), testing::LoadedLayout{}, at::kDouble,
                   testing::TrainedModel::Options{});
  testing::randomize(trained_->adapters(), 21, 0.1);
  const auto before = values();
  revive(6);
  EXPECT_TRUE(values().at(path() + ".lora_A").equal(before.at(path() + ".lora_A")));
  EXPECT_FALSE(values().at(path() + ".lora_B").equal(before.at(path() + ".lora_B")));
}

}  // namespace
}  // namespace molora
