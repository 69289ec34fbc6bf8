// Everything that `molora bench` says: how long a step takes, what of it is useful, and where the
// rest goes.
#pragma once

#include <array>
#include <optional>
#include <string>
#include <vector>

#include <nlohmann/json.hpp>

#include "comm/mesh.h"
#include "plan/step_products.h"
#include "profile/breakdown.h"
#include "report/step_times.h"
#include "worker/commands.h"
#include "worker/product_meter.h"

namespace molora {

// Bytes of one rank, of the one that holds most.
struct MemoryUse {
  double base = 0;     // in the compute type; what is read in place from the files with it
  double adapter = 0;  // trained parameters
  double gradients = 0;
  double moments = 0;
  double activations = 0;  // what a step makes besides gradients, at the most at once
  double held = 0;         // by the allocator of tensors for the next step; 0: it keeps nothing
  double program = 0;      // resident before the model was read: program and libraries
  double resident = 0;     // in all, at the end
  double resident_peak = 0;
};

struct RankSpeed {
  double step_seconds = 0;    // median
  double waited_seconds = 0;  // in collectives, a step
  double rate = 0;            // of the products
};

// One configuration.
struct BenchCase {
  std::string model;
  std::string precision;
  std::vector<std::string> adapters;  // a line each: "8 experts, 2 per token, rank 16: up_proj"
  bool has_random_weights = false;
  MeshShape mesh;
  PlanInput input;
  int num_threads = 1;
  int64_t step_tokens = 0;  // over all ranks
  int64_t step_supervised = 0;
  std::vector<double> step_seconds;      // of each step the slowest rank's
  std::vector<double> recorded_seconds;  // of the recorded ones
  std::vector<RankSpeed> ranks;
  UsefulFlops useful;  // of one rank
  std::vector<ProductMeter::Measured> products;
  Breakdown breakdown;                          // the mean of all ranks; operators of rank 0
  std::array<double, kNumAxes> axis_seconds{};  // in collectives
  Traffic traffic;                              // of one step, all ranks together
  MemoryUse memory;

  double step() const { return median(step_seconds); }
  double tokens_per_second() const { return static_cast<double>(step_tokens) / step(); }
  // Of the matrix products, over what these products run at alone: the mean of all ranks.
  double product_rate() const;
  double useful_share() const { return useful.base_and_head() / step() / product_rate(); }
  // How much longer a recorded step takes.
  double observer_share() const { return median(recorded_seconds) / step() - 1; }
};

struct BenchReport {
  WorkClock clock = WorkClock::kWall;
  int64_t num_warmup = 0;
  BenchCase first;
  std::optional<BenchCase> second;  // --against
  TimeRatio ratio;                  // second over first
};

// For people, lines of at most 100 characters.
std::string bench_text(const BenchReport& report);

// The same numbers: bytes, floating-point operations, seconds.
nlohmann::json bench_json(const BenchReport& report);

}  // namespace molora
