#include "worker/bench_run.h"

#include <algorithm>
#include <optional>
#include <utility>

#include <fmt/format.h>

#include "base/error.h"
#include "device/compute_device.h"
#include "plan/plan_input.h"
#include "tensor/host_memory.h"

namespace molora {

namespace {

// As many states as the loss forms logits of at once (train/loss.h).
constexpr int64_t kHeadRows = 512;

SyntheticRows rows_of(const RunConfig& config, const BenchArguments& arguments,
                      const Architecture& architecture) {
  const SyntheticRows rows{.row_tokens = config.data().max_length(),
                           .sequences_per_row = arguments.sequences_per_row,
                           .supervised = arguments.supervised,
                           .vocab_size = architecture.vocab_size,
                           .seed = config.seed()};
  if (rows.row_tokens >= 2 * rows.sequences_per_row) return rows;
  throw ConfigError(fmt::format(
      "--sequences-per-row {}: a sequence has at least two tokens, but data.max_length is {}",
      rows.sequences_per_row, rows.row_tokens));
}

RunConfig without_step_check(RunConfig config) {
  config.mutable_train()->set_spike_factor(0);
  return config;
}

}  // namespace

BenchRun::BenchRun(const RunConfig& config, const BenchArguments& arguments, Communicator& world)
    : config_(without_step_check(config)),
      clock_(arguments.clock),
      session_(config_, std::nullopt, world, SessionUse::kMeasure),
      sync_(session_.mesh(), session_.adapters().parameters(),
            config_.parallel().shard_optimizer() ? OptimizerPlacement::kSharded
                                                 : OptimizerPlacement::kReplicated),
      optimizer_(sync_.updated_parameters(), config_.train()),
      step_({session_.model(), session_.adapters(), sync_, optimizer_},
            {config_.train(), config_.adapter().router(), config_.seed()}),
      rows_(rows_of(config_, arguments, session_.architecture())),
      traffic_(session_.mesh()),
      input_(input_of_rows()),
      products_(step_products(input_, kHeadRows), product_options()) {}

ProductMeter::Options BenchRun::product_options() const {
  return {compute_type(config_.model().precision()), session_.device(), clock_};
}

StepRows BenchRun::next_rows() {
  const MeshShape& shape = session_.mesh().shape();
  return deal_rows(synthetic_rows(rows_, config_.train().global_batch_size(), steps_done_),
                   session_.mesh().dp_rank(), shape.dp, config_.train().micro_batch_size());
}

PlanInput BenchRun::input_of_rows() {
  const StepRows rows = next_rows();
  step_tokens_ = rows.step_tokens;
  step_supervised_ = rows.step_supervised;
  PlanInput input = plan_input(config_, session_.architecture(), session_.mesh().shape());
  input.micro_steps = rows.num_micro_steps;
  input.tokens = rows.step_tokens / rows.num_micro_steps;
  input.supervised = rows.step_supervised / rows.num_micro_steps;
  input.row_tokens = rows_.row_tokens / rows_.sequences_per_row;
  return input;
}

BenchRun::StepTime BenchRun::step() {
  const StepRows rows = next_rows();
  session_.mesh().host(Axis::kAll).barrier();
  traffic_.restart();
  const double waited = session_.mesh().waited_seconds();
  const int64_t begin = now_ns(clock_);
  step_.run(steps_done_++, rows, config_.train().learning_rate());
  finish_work(session_.device());
  return {static_cast<double>(now_ns(clock_) - begin) * 1e-9,
          session_.mesh().waited_seconds() - waited};
}

WorkRecording BenchRun::recorded_step(WorkClock clock, WorkRecorder::Memory memory) {
  const StepRows rows = next_rows();
  session_.mesh().host(Axis::kAll).barrier();
  traffic_.restart();
  WorkRecorder recorder(clock);
  recorder.start(memory);
  step_.run(steps_done_++, rows, config_.train().learning_rate());
  finish_work(session_.device());
  return recorder.stop();
}

// The allocator of CPU tensors counts for itself; where it is not in use (GPUs, sanitizers) a
// recorder does.
BenchRun::StepMemory BenchRun::memory_of_step() {
  const bool is_counted = session_.device().is_cpu() && host_memory().held_bytes > 0;
  if (!is_counted) {
    return {recorded_step(clock_, WorkRecorder::Memory::kCounted).peak_tensor_bytes, 0};
  }
  const int64_t before = host_memory().live_bytes;
  reset_host_memory_peak();
  (void)step();
  const HostMemory after = host_memory();
  return {after.peak_bytes - before, after.held_bytes - after.live_bytes};
}

void BenchRun::measure_products() {
  session_.mesh().host(Axis::kAll).barrier();
  products_.measure_round();
}

}  // namespace molora
