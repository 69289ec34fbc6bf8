// The law of every parallel part on GPUs that NCCL connects: training in several processes, on the
// test libraries' GPU of host memory, gives the bits of training on CPUs over MPI, and what one
// process alone gives.
#include <cstdlib>
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

// Layouts of as many ranks as there are processes: every exchange, axes within and across each
// other.
std::vector<RunShape> all_shapes(int world) {
  std::vector<RunShape> shapes;
  const auto add = [&](int tp, int ep, ExchangeMode mode, bool sp) {
    if (world % tp == 0 && world % ep == 0) shapes.push_back(layout_of({world, tp, ep}, sp, mode));
  };
  const int some = world % 2 == 0 && world > 2 ? 2 : world;
  for (const bool sp : {false, true}) {
    add(some, world, ExchangeMode::kTokens, sp);
    add(world, some, ExchangeMode::kTokens, sp);
    add(world, 1, ExchangeMode::kRank, sp);
    add(some, world, ExchangeMode::kGather, sp);
    add(some, 1, ExchangeMode::kReplicate, sp);
  }
  add(1, world, ExchangeMode::kTokens, false);
  return shapes;
}

// One of each exchange, with sequence parallelism and without.
std::vector<RunShape> few_shapes(int world) {
  const int some = world % 2 == 0 && world > 2 ? 2 : world;
  return {layout_of({world, some, world}, true, ExchangeMode::kTokens),
          layout_of({world, world, 1}, false, ExchangeMode::kRank),
          layout_of({world, 1, world}, false, ExchangeMode::kGather),
          layout_of({world, some, 1}, true, ExchangeMode::kReplicate)};
}

// Dropout's masks take LibTorch's operators a hundred steps each; those that are not about it go
// without.
OracleCase without_dropout(OracleCase of) {
  of.adapter.set_lora_dropout(0);
  of.adapter.set_expert_dropout(0);
  return of;
}

class NcclOracle : public ::testing::Test {
 protected:
  std::unique_ptr<RunOutcome> run(const SharedModel& model, const OracleCase& of, RunShape shape,
                                  Communicator& world,
                                  const Mesh::MakeCommunicator& of_device) const {
    shape.type = of.type;
    shape.micro_batch_size = of.micro_batch_size;
    shape.recompute = of.recompute;
    shape.weight_decay = of.weight_decay;
    shape.lora_plus_ratio = of.lora_plus_ratio;
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
      // A real GPU's operators round in their own way.
      const bool is_real_gpu = std::getenv("MOLORA_REAL_GPU") != nullptr;
      const bool are_same_bits = kernels == KernelChoice::kAten && !is_real_gpu;
      if (!found.empty()) {
        found = "over MPI: " + found;
      } else {
        found = testing::compare(*over_nccl, *over_mpi,
                                 are_same_bits ? 0.0 : (is_real_gpu ? 10 : 1) * tolerance);
      }
      for (const std::string& text : all_gather_text(*world_, found)) {
        if (!text.empty()) return testing::text_of(shape) + ": " + text;
      }
    }
    return {};
  }

  NcclOracle() {
    const int gpu = MpiEnvironment::local_rank() % load_cuda();
    device_ = use_gpu(gpu);
    context_ = NcclContext::make({.gpu = gpu,
                                  .time_limit = std::chrono::seconds(120),
                                  .compute_stream = [this] { return compute_stream(device_); }});
    set_wait_until([this](const std::function<bool()>& is_done) { context_->wait_until(is_done); });
  }
  ~NcclOracle() override { set_wait_until(nullptr); }

  std::unique_ptr<Communicator> world_ = make_mpi_world();
  const OracleCase model_ =
      world_->size() % 3 == 0 ? testing::by_three(Head::kTied) : testing::by_two(Head::kUntied);
  at::Device device_ = at::kCPU;
  std::unique_ptr<NcclContext> context_;
};

// The same with every layout and type.
class NcclOracleAll : public NcclOracle {};

TEST_F(NcclOracle, HasTheBitsOfMpiInDoublePrecision) {
  EXPECT_EQ(fault(without_dropout(model_), few_shapes(world_->size())), "");
}

// Sixteen bits and heads of eight channels: the attention kernel of GPUs.
TEST_F(NcclOracle, HasTheBitsOfMpiInBrainFloat) {
  OracleCase of = without_dropout(model_);
  of.model["head_dim"] = 8;
  of.type = at::kBFloat16;
  of.recompute = TrainConfig::selective;
  EXPECT_EQ(fault(of, {few_shapes(world_->size()).front()}), "");
}

TEST_F(NcclOracle, HasTheBitsOfMpiWithDropout) {
  EXPECT_EQ(fault(model_, {few_shapes(world_->size()).front()}), "");
}

TEST_F(NcclOracle, HasTheNumbersOfMpiWithKernelsOfItsOwn) {
  OracleCase of = model_;
  of.type = at::kFloat;
  of.recompute = TrainConfig::full;
  EXPECT_EQ(fault(of, few_shapes(world_->size()), KernelChoice::kFused), "");
}

TEST_F(NcclOracleAll, HaveTheBitsOfMpiInDoublePrecision) {
  EXPECT_EQ(fault(without_dropout(model_), all_shapes(world_->size())), "");
}

TEST_F(NcclOracleAll, HaveTheBitsOfMpiInSinglePrecisionRecomputed) {
  OracleCase of = without_dropout(model_);
  of.type = at::kFloat;
  of.recompute = TrainConfig::full;
  EXPECT_EQ(fault(of, all_shapes(world_->size())), "");
}

TEST_F(NcclOracleAll, HaveTheBitsOfMpiInBrainFloat) {
  OracleCase of = without_dropout(model_);
  of.model["head_dim"] = 8;
  of.type = at::kBFloat16;
  EXPECT_EQ(fault(of, all_shapes(world_->size())), "");
}

TEST_F(NcclOracleAll, HaveTheNumbersOfMpiWithKernelsOfTheirOwn) {
  EXPECT_EQ(fault(model_, all_shapes(world_->size()), KernelChoice::kFused), "");
}

TEST_F(NcclOracleAll, HaveTheBitsOfMpiWhenAllTokensGoToOneExpert) {
  OracleCase of = without_dropout(model_);
  of.prepare = testing::bias_of_expert(2, 50.0);
  const int world = world_->size();
  EXPECT_EQ(fault(of, {layout_of({world, 1, world}, false, ExchangeMode::kTokens),
                       layout_of({world, world, world}, true, ExchangeMode::kTokens)}),
            "");
}

}  // namespace
}  // namespace molora
