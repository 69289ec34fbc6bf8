#include "train/router_health.h"

#include <gmock/gmock.h>

#include "support/tiny_model.h"

namespace molora {
namespace {

using ::testing::AllOf;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::SizeIs;

// One layer with three routers of four experts, two for each token.
class RouterHealthFacts : public ::testing::Test {
 protected:
  RouterHealthFacts() {
    config_.set_num_experts(4);
    config_.set_experts_per_token(2);
    config_.mutable_router()->mutable_health()->set_window(4);
  }

  RouterHealthConfig& health() { return *config_.mutable_router()->mutable_health(); }
  RouterHealth watch() const {
    nlohmann::json model = testing::tiny_config();
    model["num_hidden_layers"] = 1;
    const AdapterSet adapters(parse_architecture(model.dump(), "config.json", {}), config_, 1,
                              at::kFloat);
    return {adapters, config_.router()};
  }

  // Ten tokens: router 1 sends `to_first` of its 20 choices to each of the first two experts, the
  // others are even.
  static std::vector<RouterAlarm> step(RouterHealth& watch, int64_t number, int64_t to_first) {
    Tensor counts = at::full({3, 4}, 5, at::kLong);
    counts[1] = at::tensor({to_first, to_first, 10 - to_first, 10 - to_first}, at::kLong);
    return watch.step_done(number, counts, at::full({3, 4}, 2.5, at::kDouble));
  }

  AdapterConfig config_;
};

TEST_F(RouterHealthFacts, CollapseIsSaidOnceWhenTheWindowIsFull) {
  // Two of four experts dead: half of them, which is not more than half.
  RouterHealth lenient = watch();
  for (int64_t i = 1; i <= 8; ++i) EXPECT_THAT(step(lenient, i, 10), IsEmpty()) << i;

  health().set_collapsed_above(0.4);
  RouterHealth strict = watch();
  for (int64_t i = 1; i <= 3; ++i) EXPECT_THAT(step(strict, i, 10), IsEmpty()) << i;
  const std::vector<RouterAlarm> alarms = step(strict, 4, 10);
  ASSERT_THAT(alarms, SizeIs(1));
  EXPECT_EQ(alarms[0].kind, RouterAlarm::Kind::kCollapsed);
  EXPECT_EQ(alarms[0].router, 1);
  EXPECT_THAT(alarms[0].dead, ElementsAre(2, 3));
  EXPECT_THAT(alarms[0].load, ElementsAre(0.5, 0.5, 0.0, 0.0));
  EXPECT_TRUE(strict.is_collapsed(1));
  EXPECT_FALSE(strict.is_collapsed(0));
  for (int64_t i = 5; i <= 9; ++i) EXPECT_THAT(step(strict, i, 10), IsEmpty()) << i;
}

// dead_below 0.05 of an even quarter: a share below 0.0125 of 80 choices is none at all.
TEST_F(RouterHealthFacts, OneStepOfUseInTheWindowIsALife) {
  health().set_collapsed_above(0.4);
  RouterHealth watched = watch();
  (void)step(watched, 1, 9);  // 1 of 80
  for (int64_t i = 2; i <= 3; ++i) (void)step(watched, i, 10);
  EXPECT_THAT(step(watched, 4, 10), IsEmpty()) << "1 / 80 is not below 0.0125";
  EXPECT_THAT(step(watched, 5, 10), SizeIs(1)) << "the window has slid on";
}

TEST_F(RouterHealthFacts, RecoveryEndsTheAlarm) {
  health().set_collapsed_above(0.4);
  RouterHealth watched = watch();
  for (int64_t i = 1; i <= 6; ++i) (void)step(watched, i, 10);
  const std::vector<RouterAlarm> alarms = step(watched, 7, 5);
  ASSERT_THAT(alarms, SizeIs(1));
  EXPECT_EQ(alarms[0].kind, RouterAlarm::Kind::kRecovered);
  EXPECT_EQ(alarms[0].since, 4);
  EXPECT_FALSE(watched.has_collapsed());
}

// Dead below 0.0125; alive again from 0.025 on, which is 2 of 80.
TEST_F(RouterHealthFacts, ALoadAboutAtTheLimitDoesNotEndTheAlarm) {
  health().set_collapsed_above(0.4);
  RouterHealth watched = watch();
  for (int64_t i = 1; i <= 4; ++i) (void)step(watched, i, 10);
  EXPECT_THAT(step(watched, 5, 9), IsEmpty());
  EXPECT_THAT(step(watched, 6, 9), SizeIs(1));
  EXPECT_FALSE(watched.has_collapsed());
}

TEST_F(RouterHealthFacts, WhatBeganAnewIsJudgedAfterAWholeWindow) {
  health().set_collapsed_above(0.4);
  health().set_action(RouterHealthConfig::revive);
  RouterHealth watched = watch();
  for (int64_t i = 1; i <= 3; ++i) (void)step(watched, i, 10);
  ASSERT_THAT(step(watched, 4, 10), SizeIs(1));
  watched.forget(1);
  for (int64_t i = 5; i <= 7; ++i) EXPECT_THAT(step(watched, i, 10), IsEmpty()) << i;
  const std::vector<RouterAlarm> again = step(watched, 8, 10);
  ASSERT_THAT(again, SizeIs(1));
  EXPECT_EQ(again[0].kind, RouterAlarm::Kind::kStillCollapsed);
  EXPECT_EQ(again[0].since, 4);
}

TEST_F(RouterHealthFacts, AStoredWatchGoesOnToTheSameDecisions) {
  health().set_window(25);  // parts of three steps: nine of them
  health().set_collapsed_above(0.4);
  const auto load_of = [](int64_t i) { return i > 20 && i < 80 ? 10 : 5 + i % 3; };
  for (const int64_t stop : {1, 26, 49, 50, 51, 90}) {
    RouterHealth whole = watch();
    RouterHealth first = watch();
    RouterHealth second = watch();
    std::string said;
    for (int64_t i = 1; i <= 120; ++i) {
      if (i == stop) {
        RouterHealthRecord stored;
        ASSERT_TRUE(stored.ParseFromString(first.record().SerializeAsString()));
        second.restore(stored);
      }
      const auto expected = step(whole, i, load_of(i));
      const auto got = step(i < stop ? first : second, i, load_of(i));
      ASSERT_EQ(got.size(), expected.size()) << "step " << i << ", stored before " << stop;
      for (size_t a = 0; a < got.size(); ++a) {
        EXPECT_EQ(alarm_text(got[a]), alarm_text(expected[a]));
        said += alarm_text(got[a]);
      }
      EXPECT_EQ((i < stop ? first : second).load(1), whole.load(1));
    }
    EXPECT_EQ(second.record().SerializeAsString(), whole.record().SerializeAsString());
    EXPECT_THAT(said, AllOf(HasSubstr("has collapsed"), HasSubstr("has recovered")));
  }
}

TEST_F(RouterHealthFacts, RecordsThatDoNotFitAreLeftAside) {
  RouterHealth watched = watch();
  (void)step(watched, 1, 10);
  RouterHealth other = watch();
  other.restore(RouterHealthRecord());
  EXPECT_EQ(other.record().steps(), 0);
  other.restore(watched.record());
  EXPECT_EQ(other.record().steps(), 1);
  health().set_window(5);
  RouterHealth longer = watch();
  longer.restore(watched.record());
  EXPECT_EQ(longer.record().steps(), 0) << "another window";
  health().set_window(4);
  config_.set_num_experts(6);
  RouterHealth larger = watch();
  larger.restore(watched.record());
  EXPECT_EQ(larger.record().steps(), 0) << "other experts";
}

TEST_F(RouterHealthFacts, WithoutAWindowThereIsNoAlarm) {
  health().set_window(0);
  health().set_collapsed_above(0.0);
  RouterHealth watched = watch();
  for (int64_t i = 1; i <= 9; ++i) EXPECT_THAT(step(watched, i, 10), IsEmpty());
  EXPECT_THAT(watched.dead(1), ElementsAre(2, 3)) << "of the latest step";
}

// Where every token uses every expert the choices say nothing: the softmax does.
TEST_F(RouterHealthFacts, OfADenseGateTheProbabilitiesAreTheLoad) {
  config_.mutable_router()->set_gate(RouterConfig::dense_softmax);
  health().set_window(1);
  RouterHealth watched = watch();
  Tensor sums = at::full({3, 4}, 2.5, at::kDouble);
  sums[2] = at::tensor({9.97, 0.01, 0.01, 0.01}, at::kDouble);
  const auto alarms = watched.step_done(1, at::full({3, 4}, 10, at::kLong), sums);
  ASSERT_THAT(alarms, SizeIs(1));
  EXPECT_EQ(alarms[0].router, 2);
  EXPECT_THAT(alarms[0].dead, ElementsAre(1, 2, 3));
}

TEST_F(RouterHealthFacts, TheWarningSaysWhereWhatAndWhatToDo) {
  RouterAlarm alarm{.step = 7, .since = 7, .router = 1, .name = "layers.0.mlp.up_proj"};
  alarm.load = {0.75, 0.25, 0.0};
  alarm.dead = {2};
  EXPECT_THAT(alarm_text(alarm),
              AllOf(HasSubstr("step 7: router layers.0.mlp.up_proj has collapsed: 1 of 3 experts "
                              "are hardly used (2); load of its experts 0.750 0.250 0.000"),
                    HasSubstr("health.action: warn"), HasSubstr("balance_loss_coef")));
  alarm.action = RouterHealthConfig::revive;
  EXPECT_THAT(alarm_text(alarm), HasSubstr("copies of the most used one"));
}

}  // namespace
}  // namespace molora
