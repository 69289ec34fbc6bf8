// main() of test programs that run under mpirun: one MPI world for all tests, and a failure on any
// rank fails the program.
#include <iostream>

#include <gtest/gtest.h>

#include "comm/mpi_env.h"

int main(int argc, char** argv) {
  ::testing::InitGoogleTest(&argc, argv);
  if (!molora::MpiEnvironment::started_by_launcher()) {
    std::cerr << "run this program with mpirun\n";
    return 64;
  }
  const molora::MpiEnvironment environment(&argc, &argv);
  return RUN_ALL_TESTS();
}
