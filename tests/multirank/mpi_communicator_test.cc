#include "comm/mpi_communicator.h"

#include <gtest/gtest.h>

#include "support/communicator_contract.h"

namespace molora {
namespace {

TEST(MpiCommunicator, KeepsTheContract) {
  const auto world = make_mpi_world();
  testing::check_communicator_contract(*world);
}

TEST(MpiCommunicator, TwoCommunicatorsDoNotMixMessages) {
  const auto a = make_mpi_world();
  const auto b = make_mpi_world();
  for (int i = 0; i < 20; ++i) {
    testing::check_all_to_all(i % 2 == 0 ? *a : *b);
  }
}

}  // namespace
}  // namespace molora
