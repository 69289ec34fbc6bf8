// Linked into a test program: with MOLORA_TEST_KERNELS=host in the environment all of its tests
// compute by the loops of the CPU, else by LibTorch's operators.
#include <cstdlib>
#include <string_view>

#include <gtest/gtest.h>

#include "kernels/kernel_choice.h"

namespace molora::testing {
namespace {

class ChosenKernels : public ::testing::Environment {
 public:
  void SetUp() override {
    const char* const chosen = std::getenv("MOLORA_TEST_KERNELS");
    if (chosen != nullptr && std::string_view(chosen) == "host") {
      choose_kernels(KernelChoice::kHost);
    }
  }
};

[[maybe_unused]] const ::testing::Environment* const environment =
    ::testing::AddGlobalTestEnvironment(new ChosenKernels);

}  // namespace
}  // namespace molora::testing
