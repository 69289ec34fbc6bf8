// From measured runs to the report of `molora bench`: what all ranks have seen, put together.
#pragma once

#include <vector>

#include "profile/work_recording.h"
#include "worker/bench_report.h"
#include "worker/bench_run.h"

namespace molora {

// What this rank has seen of one configuration.
struct BenchSamples {
  std::vector<double> step_seconds;
  double waited_seconds = 0;  // in these steps
  std::vector<WorkRecording> recordings;
  BenchRun::StepMemory memory;
  Traffic traffic;  // of a step, all ranks
  double program_bytes = 0;
};

// Equal on every rank but for the operators. Collective.
BenchCase bench_case(BenchRun& run, const BenchSamples& samples);

// Of this process now.
double resident_bytes();

}  // namespace molora
