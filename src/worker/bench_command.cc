// The bench command: training steps on synthetic rows, measured and recorded.
#include <algorithm>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include <ATen/Parallel.h>
#include <fmt/format.h>

#include "base/error.h"
#include "config/load_config.h"
#include "config/resolved_yaml.h"
#include "io/file.h"
#include "worker/bench_measure.h"
#include "worker/bench_run.h"
#include "worker/calibration.h"
#include "worker/commands.h"
#include "worker/compute_threads.h"
#include "worker/console.h"
#include "worker/resolved_config.h"
#include "worker/together.h"
#include "worker/trace_file.h"

namespace molora {

namespace {

constexpr int64_t kMostRecorded = 5;  // steps; each is as long as a step

// A run with what was seen of it.
struct Measured {
  std::unique_ptr<BenchRun> run;
  BenchSamples samples;
};

void check_clock(const BenchArguments& arguments, Communicator& world) {
  together(world, [&] {
    if (arguments.clock == WorkClock::kWall || at::get_num_threads() == 1) return;
    throw ConfigError(
        fmt::format("--clock cpu is the time of one thread, and this process computes with {}: set "
                    "OMP_NUM_THREADS=1",
                    at::get_num_threads()));
  });
}

void measure_step(Measured& of) {
  const BenchRun::StepTime time = of.run->step();
  of.samples.step_seconds.push_back(time.seconds);
  of.samples.waited_seconds += time.waited;
  of.samples.traffic = of.run->traffic_of_last_step();
}

// Steps of all runs in turns, the first one changing places, so that a machine that slows down
// slows all alike. Between them the products, and steps that are recorded.
void measure(std::vector<Measured>& all, const BenchArguments& arguments) {
  for (Measured& of : all) {
    for (int64_t i = 0; i < arguments.num_warmup; ++i) of.run->step();
  }
  for (int64_t i = 0; i < arguments.num_steps; ++i) {
    for (Measured& of : all) measure_step(of);
    for (Measured& of : all) {
      of.run->measure_products();
      if (i < kMostRecorded)
        of.samples.recordings.push_back(of.run->recorded_step(arguments.clock));
    }
    std::reverse(all.begin(), all.end());
  }
  if (arguments.num_steps % 2 == 1) std::reverse(all.begin(), all.end());
  for (Measured& of : all) {
    of.samples.memory = of.run->memory_of_step();
  }
}

Measured prepare(const ConfigArguments& config, const BenchArguments& arguments,
                 double program_bytes, Communicator& world) {
  Measured of;
  of.run = std::make_unique<BenchRun>(resolve_config(config, ConfigUse::kModel, world), arguments,
                                      world);
  of.samples.program_bytes = program_bytes;
  return of;
}

// The second configuration: its own files, or those of the first, and its own changes.
std::optional<ConfigArguments> other_config(const BenchArguments& arguments) {
  if (arguments.against.files.empty() && arguments.against.overrides.empty()) return std::nullopt;
  ConfigArguments other = arguments.against;
  if (other.files.empty()) {
    other.files = arguments.config.files;
    other.overrides.insert(other.overrides.begin(), arguments.config.overrides.begin(),
                           arguments.config.overrides.end());
  }
  return other;
}

ExitCode run_calibration(const BenchArguments& arguments, Communicator& world) {
  const RunConfig config = arguments.config.files.empty() && arguments.config.overrides.empty()
                               ? RunConfig()
                               : resolve_config(arguments.config, ConfigUse::kModel, world);
  const RankDevice device(config, world);
  const Mesh mesh = device.make_mesh(world, machine_shape(world));
  const std::string yaml = message_yaml(calibrate(mesh, {.device = device.device()}));
  together(world, [&] {
    if (world.rank() != 0) return;
    write_file_atomic(arguments.calibrate_path,
                      "# Measured by molora bench --calibrate; the fields are those of "
                      "proto/hardware.proto.\n" +
                          yaml);
    print(yaml);
  });
  return ExitCode::kDone;
}

void check_has_config(const BenchArguments& arguments, Communicator& world) {
  together(world, [&] {
    if (!arguments.config.files.empty() || !arguments.calibrate_path.empty()) return;
    throw ConfigError("bench: which configuration? molora bench CONFIG.yaml (or --calibrate FILE)");
  });
}

// Of one more step, as the wall clock has it: only that is the same on all ranks.
void write_trace_of_step(BenchRun& run, const std::string& path) {
  if (path.empty()) return;
  write_trace(path, run.recorded_step(WorkClock::kWall), 1, run.session().mesh());
}

}  // namespace

ExitCode run_bench(const BenchArguments& arguments, Communicator& world) {
  check_has_config(arguments, world);
  set_compute_threads(world);
  if (!arguments.calibrate_path.empty()) return run_calibration(arguments, world);
  check_clock(arguments, world);
  const double program_bytes = resident_bytes();
  std::vector<Measured> all;
  all.push_back(prepare(arguments.config, arguments, program_bytes, world));
  if (const auto other = other_config(arguments)) {
    all.push_back(prepare(*other, arguments, program_bytes, world));
  }
  measure(all, arguments);

  write_trace_of_step(*all[0].run, arguments.trace_path);
  BenchReport report;
  report.clock = arguments.clock;
  report.num_warmup = arguments.num_warmup;
  report.first = bench_case(*all[0].run, all[0].samples);
  if (all.size() > 1) {
    report.second = bench_case(*all[1].run, all[1].samples);
    report.ratio = paired_ratio(report.first.step_seconds, report.second->step_seconds,
                                all[0].run->config().seed());
  }
  together(world, [&] {
    if (world.rank() != 0) return;
    if (!arguments.json_path.empty()) {
      write_file_atomic(arguments.json_path, bench_json(report).dump(1) + "\n");
    }
    print(bench_text(report));
  });
  return ExitCode::kDone;
}

}  // namespace molora
