#include "launcher/agent/rank_environment.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "base/error.h"
#include "support/expect_throw.h"

namespace molora {
namespace {

using ::testing::ElementsAre;

TEST(SupervisorAddress, IsWrittenAsItIsRead) {
  const SupervisorAddress address = SupervisorAddress::parse("10.0.0.1,127.0.0.1:4711");
  EXPECT_THAT(address.hosts, ElementsAre("10.0.0.1", "127.0.0.1"));
  EXPECT_EQ(address.port, 4711);
  EXPECT_EQ(address.text(), "10.0.0.1,127.0.0.1:4711");
}

TEST(SupervisorAddress, ShowsWhatItCannotRead) {
  for (const char* text : {"", "10.0.0.1", "10.0.0.1:", "10.0.0.1:0", "10.0.0.1:70000", "host:80",
                           "10.0.0.1,:80", ":80", "10.0.0.1:8o"}) {
    EXPECT_THROW_WITH(SupervisorAddress::parse(text), ConfigError,
                      std::string("MOLORA_SUPERVISOR is '") + text + "'", "a,b:port");
  }
}

TEST(RankEnvironment, IsRankZeroOfOneWithoutALauncher) {
  const RankEnvironment rank = rank_environment({{"SLURM_NTASKS", "4"}});
  EXPECT_EQ(rank.rank, 0);
  EXPECT_EQ(rank.world_size, 1);
  EXPECT_FALSE(rank.supervisor.has_value());
}

TEST(RankEnvironment, MpirunWithinABatchJobWinsOverTheBatchStepsOwnRank) {
  const RankEnvironment rank = rank_environment({{"SLURM_PROCID", "0"},
                                                 {"SLURM_NTASKS", "1"},
                                                 {"OMPI_COMM_WORLD_RANK", "3"},
                                                 {"OMPI_COMM_WORLD_SIZE", "4"}});
  EXPECT_EQ(rank.rank, 3);
  EXPECT_EQ(rank.world_size, 4);
}

TEST(RankEnvironment, TakesSrunsRank) {
  const RankEnvironment rank = rank_environment(
      {{"SLURM_PROCID", "2"}, {"SLURM_STEP_NUM_TASKS", "3"}, {"SLURM_NTASKS", "8"}});
  EXPECT_EQ(rank.rank, 2);
  EXPECT_EQ(rank.world_size, 3);
}

TEST(RankEnvironment, AWorldIsNeverSmallerThanItsRank) {
  EXPECT_EQ(rank_environment({{"PMIX_RANK", "5"}}).world_size, 6);
}

TEST(RankEnvironment, KnowsItsSupervisor) {
  const RankEnvironment rank = rank_environment(
      {{"MOLORA_SUPERVISOR", "127.0.0.1:99"}, {"MOLORA_TOKEN", "secret"}, {"MOLORA_ATTEMPT", "2"}});
  ASSERT_TRUE(rank.supervisor.has_value());
  EXPECT_EQ(rank.supervisor->port, 99);
  EXPECT_EQ(rank.token, "secret");
  EXPECT_EQ(rank.attempt, 2);
}

TEST(RankEnvironment, NamesTheVariableThatIsNoNumber) {
  EXPECT_THROW_WITH(rank_environment({{"OMPI_COMM_WORLD_RANK", "-1"}}), ConfigError,
                    "OMPI_COMM_WORLD_RANK is '-1', expected a number");
}

}  // namespace
}  // namespace molora
