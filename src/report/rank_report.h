// The ranks of a run side by side: their own work, their waiting, their memory; and which of them
// keeps the others waiting, with the cause.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include <nlohmann/json_fwd.hpp>

namespace molora {

// One rank over some steps.
struct RankUsage {
  std::string host;
  double work_seconds = 0.0;       // of steps, outside collectives
  double waited_seconds = 0.0;     // inside collectives
  double run_queue_seconds = 0.0;  // of steps, in which it was ready and had no processor
  int64_t major_faults = 0;        // pages that had to be read from a disk
  int64_t tokens = 0;
  uint64_t peak_memory_bytes = 0;  // resident, since the process began
};

// All ranks over the same steps.
struct RankUsages {
  int64_t num_steps = 0;
  std::vector<RankUsage> ranks;  // by rank of the world
};

// Adds what came after; `later` has the same ranks.
void add(RankUsages& sum, const RankUsages& later);

// {"steps": 50, "ranks": [{"host": "a", "work": 0.9, ...}, ...]}: seconds and counts for each step,
// memory in GiB. All of it depends on the clock or the machine.
nlohmann::json rank_usages_json(const RankUsages& usages);

// A sentence for each rank whose own work has taken more than `factor` times the median of all (of
// an even number the lower one of the two in the middle) and that much more than a hundredth of a
// second a step, slowest first, at most three:
//   "rank 1 (host b): 1.80 s of its own work a step, the others 0.90 s; all wait for it. It waited
//   0.80 s a step for a processor: other processes use its cores"
std::vector<std::string> straggler_warnings(const RankUsages& usages, double factor);

// "own work a step: rank 1 (host b) 1.80 s, rank 0 (host a) 0.90 s; peak memory 1.21 GiB (rank 1,
// host b)": slowest and fastest.
std::string ranks_summary(const RankUsages& usages);

}  // namespace molora
