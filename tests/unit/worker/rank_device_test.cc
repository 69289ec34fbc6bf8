#include "worker/rank_device.h"

#include <gtest/gtest.h>

#include "base/error.h"
#include "comm/thread_communicator.h"
#include "kernels/kernel_choice.h"
#include "support/expect_throw.h"

namespace molora {
namespace {

RunConfig on_cpu(KernelKind::Value kernels) {
  RunConfig config;
  config.mutable_device()->set_kind(DeviceConfig::cpu);
  config.mutable_device()->set_kernels(kernels);
  return config;
}

// Whether the CPU's tensors go to the loops once a rank has what it computes on.
bool loops_are_chosen_for(const RunConfig& config) {
  bool are_chosen = false;
  run_rank_threads(1, [&](Communicator& world) {
    const RankDevice device(config, world);
    are_chosen = host_kernels_wanted(at::zeros({1}, device.device()));
  });
  choose_kernels(KernelChoice::kAten);
  return are_chosen;
}

TEST(RankDevice, ComputesByLoopsOnTheCpuUnlessAtenIsAskedFor) {
  EXPECT_TRUE(loops_are_chosen_for(on_cpu(KernelKind::auto_)));
  EXPECT_TRUE(loops_are_chosen_for(on_cpu(KernelKind::fused)));
  EXPECT_FALSE(loops_are_chosen_for(on_cpu(KernelKind::aten)));
}

TEST(RankDevice, RefusesNcclBetweenCpus) {
  RunConfig config = on_cpu(KernelKind::auto_);
  config.mutable_parallel()->set_backend(BackendKind::nccl);
  EXPECT_THROW_WITH(loops_are_chosen_for(config), ConfigError,
                    "parallel.backend is nccl, but the ranks compute on CPUs");
}

}  // namespace
}  // namespace molora
