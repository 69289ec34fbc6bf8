// What this rank does with its time in the steps of a run, and what all ranks do, side by side.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "comm/mesh.h"
#include "report/rank_report.h"

namespace molora {

// What the system tells about this process, since it began.
struct ProcessCounters {
  double run_queue_seconds = 0.0;  // of the calling thread; 0 where the kernel does not tell
  int64_t major_faults = 0;
  uint64_t peak_memory_bytes = 0;

  static ProcessCounters now();
};

// Counts what lies between restart() and step_done() alone: evaluations, saves and reports are no
// steps.
class RankMeter {
 public:
  // Collective: every rank learns the others' hosts. Refers to the mesh.
  explicit RankMeter(const Mesh& mesh);

  // The next step begins.
  void restart();
  // A step has ended that took this long; `tokens`: of this rank.
  void step_done(double seconds, int64_t tokens);

  // All ranks in the steps since the last call, equal on every rank. Collective.
  RankUsages of_all_ranks();
  // The sum of what of_all_ranks() gave.
  const RankUsages& total() const { return total_; }

 private:
  const Mesh& mesh_;
  std::vector<std::string> hosts_;
  double waited_before_ = 0.0;
  ProcessCounters before_;
  int64_t num_steps_ = 0;
  RankUsage usage_;  // in these
  RankUsages total_;
};

}  // namespace molora
