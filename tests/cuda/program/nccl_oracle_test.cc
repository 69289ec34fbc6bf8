// The law of every parallel part on GPUs that NCCL connects: training in several processes, on the
// test libraries' GPU of host memory, gives the bits of training on CPUs over MPI, and what one
// process alone gives.
#include <memory>

#include <gtest/gtest.h>

#include "comm/mpi_communicator.h"
#include "comm/mpi_env.h"
#include "comm/nccl_context.h"
#include "device/compute_device.h"
#include "kernels/kernel_choice.h"
#include "multirank/oracle_cases.h"
#include "support/gathered_tensors.h"

namespace molora {
namespace {

using testing::Head;
using testing::layout_of;
using testing::OracleCase;
using testing::RunOutcome;
using testing::RunShape;

// One folder for all processes, written by the first.
class SharedModel {
 public:
  SharedModel(Communicator& world, const nlohmann::json& config) {
    if (world.rank() == 0) {
      folder_ = std::make_unique<testing::TempFolder>();
      testing::write_tiny_model(folder_->path(), config);
    }
    path_ = broadcast_text(world, world.rank() == 0 ? folder_->path().string() : "", 0);
  }
  const std::filesystem::path& path() const { return path_; }

 private:
  std::unique_ptr<testing::TempFolder> folder_;
  std::filesystem::path path_;
};

class NcclOracle : public ::testing::Test {
 protected:
  // Layouts of as many ranks as there are processes.
  static std::vector<RunShape> layouts(int world) {
    std::vector<RunShape> shapes;
    const auto add = [&](int tp, int ep, ExchangeMode mode, bool sp) {
      if (world % tp == 0 && world % ep == 0)
        shapes.push_back(layout_of({world, tp, ep}, sp, mode));
    };
    const int half = world % 2 == 0 ? world / 2 : 1;
    for (const bool sp : {false, true}) {
      add(half == 1 ? world : half, world, ExchangeMode::kTokens, sp);
      add(half == 1 ? world : 2, 2, ExchangeMode::kTokens, sp);
      add(world, 1, ExchangeMode::kRank, sp);
      add(half == 1 ? world : 2, world, ExchangeMode::kGather, sp);
      add(half == 1 ? world : 2, 1, ExchangeMode::kReplicate, sp);
    }
    add(1, world, ExchangeMode::kTokens, false);
    return shapes;
  }

  std::unique_ptr<RunOutcome> run(const SharedModel& model, const OracleCase& of, RunShape shape,
                                  Communicator& world,
                                  const Mesh::MakeCommunicator& of_device) const {
    shape.type = of.type;
    shape.micro_batch_size = of.micro_batch_size;
    shape.recompute = of.recompute;
    shape.weight_decay = of.weight_decay;
    shape.prepare = of.prepare;
    shape.make_communicator = of_device;
    auto outcome = std::make_unique<RunOutcome>();
    testing::RankOutcome mine;
    outcome->steps = testing::train_one_rank(
        {model.path(), of.adapter, shape, testing::kOracleSteps, of.rows}, world, mine);
    testing::gather_slices(world, mine.first_gradients, outcome->first_gradients);
    testing::gather_slices(world, mine.parameters, outcome->parameters);
    return outcome;
  }

  // What is wrong on any rank with the layouts of a case; "" when nothing is.
  // LibTorch's operators have the CPU's bits here; molora's kernels add in another order.
  std::string fault(const OracleCase& of, const std::vector<RunShape>& shapes,
                    KernelChoice kernels = KernelChoice::kAten) {
    const SharedModel model(*world_, of.model);
    const auto alone = make_single_communicator("world");
    const auto single = run(model, of, RunShape{}, *alone, nullptr);
    for (RunShape shape : shapes) {
      const auto over_mpi = run(model, of, shape, *world_, nullptr);
      const double tolerance =
          of.type == at::kDouble ? testing::kFp64SumTolerance : testing::kFp32SumTolerance;
      std::string found;
      if (of.type != at::kBFloat16) found = testing::compare(*over_mpi, *single, tolerance);
      shape.layout.device = device_;
      shape.layout.has_fixed_shapes = true;
      choose_kernels(kernels);
      const auto over_nccl = run(model, of, shape, *world_, [this](Communicator& host) {
        return context_->make_communicator(host);
      });
      choose_kernels(KernelChoice::kAten);
      const bool are_same_bits = kernels == KernelChoice::kAten;
      if (found.empty()) {
        found = testing::compare(*over_nccl, *over_mpi, are_same_bits ? 0.0 : tolerance);
      }
      for (const std::string& text : all_gather_text(*world_, found)) {
        if (!text.empty()) return testing::text_of(shape) + ": " + text;
      }
    }
    return {};
  }

  NcclOracle() {
    const int gpu = MpiEnvironment::local_rank();
    load_cuda();
    device_ = use_gpu(gpu);
    context_ = NcclContext::make({.gpu = gpu,
                                  .time_limit = std::chrono::seconds(120),
                                  .compute_stream = [this] { return compute_stream(device_); }});
    set_wait_until([this](const std::function<bool()>& is_done) { context_->wait_until(is_done); });
  }
  ~NcclOracle() override { set_wait_until(nullptr); }

  std::unique_ptr<Communicator> world_ = make_mpi_world();
  at::Device device_ = at::kCPU;
  std::unique_ptr<NcclContext> context_;
};

TEST_F(NcclOracle, HasTheBitsOfMpiInDoublePrecision) {
  OracleCase of =
      world_->size() % 3 == 0 ? testing::by_three(Head::kTied) : testing::by_two(Head::kUntied);
  EXPECT_EQ(fault(of, layouts(world_->size())), "");
}

TEST_F(NcclOracle, HasTheBitsOfMpiInSinglePrecision) {
  OracleCase of =
      world_->size() % 3 == 0 ? testing::by_three(Head::kTied) : testing::by_two(Head::kTied);
  of.type = at::kFloat;
  of.recompute = TrainConfig::full;
  EXPECT_EQ(fault(of, layouts(world_->size())), "");
}

// Sixteen bits and heads of eight channels: the attention kernel of GPUs.
TEST_F(NcclOracle, HasTheBitsOfMpiInBrainFloat) {
  OracleCase of =
      world_->size() % 3 == 0 ? testing::by_three(Head::kTied) : testing::by_two(Head::kTied);
  of.model["head_dim"] = 8;
  of.type = at::kBFloat16;
  of.recompute = TrainConfig::selective;
  EXPECT_EQ(fault(of, layouts(world_->size())), "");
}

TEST_F(NcclOracle, HasTheNumbersOfMpiWithKernelsOfItsOwn) {
  OracleCase of =
      world_->size() % 3 == 0 ? testing::by_three(Head::kTied) : testing::by_two(Head::kTied);
  EXPECT_EQ(fault(of, layouts(world_->size()), KernelChoice::kFused), "");
  of.type = at::kFloat;
  of.recompute = TrainConfig::full;
  EXPECT_EQ(fault(of, layouts(world_->size()), KernelChoice::kFused), "");
}

TEST_F(NcclOracle, HasTheBitsOfMpiWhenAllTokensGoToOneExpert) {
  OracleCase of = testing::by_two(Head::kTied);
  if (world_->size() % 3 == 0) of = testing::by_three(Head::kTied);
  of.prepare = testing::bias_of_expert(2, 50.0);
  const int world = world_->size();
  EXPECT_EQ(fault(of, {layout_of({world, 1, world}, false, ExchangeMode::kTokens),
                       layout_of({world, world, world}, true, ExchangeMode::kTokens)}),
            "");
}

}  // namespace
}  // namespace molora
