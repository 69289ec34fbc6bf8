// How often the host waits for the GPU in a training step: in to_host(), where the source says why,
// and never inside an operator of LibTorch. The test library's LibTorch counts those.
#include <dlfcn.h>

#include <thread>

#include <gtest/gtest.h>

#include "device/compute_device.h"
#include "kernels/kernel_choice.h"
#include "support/oracle.h"

namespace molora {
namespace {

using testing::OracleCase;
using testing::TrainedModel;

uint64_t hidden_waits() {
  static auto* const count =
      reinterpret_cast<uint64_t (*)()>(dlsym(RTLD_DEFAULT, "fake_torch_host_syncs"));
  EXPECT_NE(count, nullptr) << "not the test library";
  return count == nullptr ? 0 : count();
}

struct Waits {
  uint64_t said = 0;    // to_host()
  uint64_t hidden = 0;  // operators
  bool operator==(const Waits&) const = default;
};

// Of one step after the first, with this many micro-steps.
Waits waits_of_step(const OracleCase& of, int64_t num_micro_steps) {
  load_cuda();
  testing::TempFolder folder;
  testing::write_tiny_model(folder.path(), of.model);
  testing::LoadedLayout layout;
  layout.device = use_gpu(0);
  layout.has_fixed_shapes = true;
  TrainConfig train;
  train.set_micro_batch_size(1);
  train.set_activation_checkpointing(of.recompute);
  TrainedModel run(folder.path(), of.adapter, Mesh::single(), layout, of.type, {.train = train});
  testing::randomize(run.adapters(), 21, 0.1);
  const auto vocab = static_cast<int32_t>(run.loaded().architecture().vocab_size);
  const auto step = [&](int64_t i) {
    (void)run.step().run(
        i, deal_rows(testing::random_rows(num_micro_steps, 1000 * i, vocab), 0, 1, 1), 1e-3);
  };
  step(0);
  uint64_t said = 0;
  set_wait_until([&said](const std::function<bool()>& is_done) {
    ++said;
    while (!is_done()) std::this_thread::yield();
  });
  const uint64_t before = hidden_waits();
  step(1);
  set_wait_until(nullptr);
  return {said, hidden_waits() - before};
}

// Statistics and norms at the end of the step; none inside, however many micro-steps.
TEST(HostWaits, AStepHasTwoAtItsEnd) {
  constexpr Waits kAtTheEnd{.said = 2, .hidden = 0};
  OracleCase of;
  choose_kernels(KernelChoice::kFused);
  for (const auto recompute : {TrainConfig::none, TrainConfig::selective, TrainConfig::full}) {
    of.recompute = recompute;
    EXPECT_EQ(waits_of_step(of, 1), kAtTheEnd);
    EXPECT_EQ(waits_of_step(of, 3), kAtTheEnd);
  }
  of.type = at::kBFloat16;
  of.model["head_dim"] = 8;
  EXPECT_EQ(waits_of_step(of, 2), kAtTheEnd);
  choose_kernels(KernelChoice::kAten);
  EXPECT_EQ(waits_of_step(of, 1), kAtTheEnd);
}

}  // namespace
}  // namespace molora
