// One configuration that is measured: its model and the steps of its training, on synthetic rows.
#pragma once

#include <cstdint>
#include <vector>

#include "plan/step_products.h"
#include "profile/work_recorder.h"
#include "train/train_step.h"
#include "worker/commands.h"
#include "worker/model_session.h"
#include "worker/product_meter.h"
#include "worker/rank_meter.h"
#include "worker/synthetic_rows.h"
#include "worker/traffic_meter.h"

namespace molora {

// Neither copied nor moved: parts refer to each other.
class BenchRun {
 public:
  // Collective. Throws: ConfigError, DataError, IoError.
  BenchRun(const RunConfig& config, const BenchArguments& arguments, Communicator& world);
  ~BenchRun() = default;
  BenchRun(const BenchRun&) = delete;
  BenchRun& operator=(const BenchRun&) = delete;
  BenchRun(BenchRun&&) = delete;
  BenchRun& operator=(BenchRun&&) = delete;

  struct StepTime {
    double seconds = 0;
    double waited = 0;  // of them, inside collectives
  };
  // One training step as `train` runs it, but for the check of a gradient that jumps: random
  // tokens have such. Its rows are made, and all ranks have come, before the clock starts.
  // Collective.
  StepTime step();
  // The same, recorded. Collective.
  WorkRecording recorded_step(WorkClock clock,
                              WorkRecorder::Memory memory = WorkRecorder::Memory::kIgnored);
  struct StepMemory {
    int64_t peak_bytes = 0;  // of tensors that a step makes, at the most at once
    int64_t held_bytes = 0;  // that the allocator keeps after it
  };
  // Of one more step. Collective.
  StepMemory memory_of_step();
  // Counts what the latest of the two has sent. Collective.
  Traffic traffic_of_last_step() { return traffic_.of_all_ranks(); }

  // One round of the products of the step. Every rank measures at the same time. Collective.
  void measure_products();

  const RunConfig& config() const { return config_; }
  ModelSession& session() { return session_; }
  const GradientSync& sync() const { return sync_; }
  const AdamW& optimizer() const { return optimizer_; }
  // What a step of this rank is made of: that of plan_input() with the tokens that the rows really
  // have.
  const PlanInput& input() const { return input_; }
  int64_t step_tokens() const { return step_tokens_; }
  int64_t step_supervised() const { return step_supervised_; }
  std::vector<ProductMeter::Measured> products() const { return products_.results(); }

 private:
  StepRows next_rows();
  PlanInput input_of_rows();
  ProductMeter::Options product_options() const;

  RunConfig config_;
  WorkClock clock_;
  ModelSession session_;
  GradientSync sync_;
  AdamW optimizer_;
  TrainStep step_;
  SyntheticRows rows_;
  TrafficMeter traffic_;
  int64_t steps_done_ = 0;
  int64_t step_tokens_ = 0;
  int64_t step_supervised_ = 0;
  PlanInput input_;
  ProductMeter products_;
};

}  // namespace molora
