// What tests of the rules share: ranks of which some break a rule, and what all of them must see.
#pragma once

#include <functional>
#include <string>

#include <gmock/gmock.h>

#include "ranks.h"

namespace molora::testing {

using WithCommunicator = std::function<void(Rank&, ncclComm_t)>;

// Runs body() on all ranks; after it every rank must find ncclInvalidUsage, its stream must end and
// the report must be there: once, whatever the number of ranks.
inline void expect_breach(int size, const std::string& report, const WithCommunicator& body,
                          const Environment& environment = {}) {
  const auto ends = run_ranks(As::kProcesses, size, environment, [&](Rank& rank) {
    ncclComm_t comm = init(rank);
    body(rank, comm);
    EXPECT_EQ(failure_of(comm), ncclInvalidUsage);
    EXPECT_THAT(ncclGetLastError(comm), ::testing::HasSubstr(report));
    EXPECT_EQ(cudaStreamSynchronize(rank.stream), cudaSuccess);
    EXPECT_EQ(ncclCommAbort(comm), ncclSuccess);
  });
  expect_all_good(ends);
  const std::string output = output_of(ends);
  EXPECT_THAT(output, ::testing::HasSubstr(report));
  EXPECT_THAT(output, ::testing::StartsWith("fake nccl: rank "));
  EXPECT_EQ(output.find(report), output.rfind(report)) << output;
}

// One process with what it says; it must end well.
inline std::string said_by(const std::function<void()>& body, const Environment& environment = {}) {
  const EndOfChild end = run_in_child(environment, body);
  EXPECT_TRUE(end.is_good()) << end.output;
  return end.output;
}

// A communicator of one rank on the current device.
inline ncclComm_t alone(const char* name = "test") {
  ncclConfig_t config = NCCL_CONFIG_INITIALIZER;
  config.commName = name;
  ncclComm_t comm = nullptr;
  EXPECT_EQ(ncclCommInitRankConfig(&comm, 1, fresh_id(), 0, &config), ncclSuccess);
  return comm;
}

}  // namespace molora::testing
