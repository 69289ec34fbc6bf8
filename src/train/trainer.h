// The loop over optimizer steps: rows, step, evaluation, step boundary. The rows of the next step
// are prepared while this one computes (step_feeder.h).
//
// The trainer decides when things happen and keeps the progress; what is done with a finished step,
// an evaluation or a boundary (metrics, tables, checkpoints) is up to its hooks. Every rank runs
// the same loop and calls the same hooks in the same order.
#pragma once

#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "checkpoint.pb.h"
#include "train/row_feeder.h"
#include "train/step_feeder.h"
#include "train/train_step.h"

namespace molora {

// What happened around the end of a step.
struct StepBoundary {
  int64_t steps_done = 0;
  bool is_last = false;
  bool is_stop_requested = false;  // by any rank
  bool is_new_best = false;        // this step's held-out loss is the lowest so far
};

struct TrainerHooks {
  // Whether this rank was asked to stop.
  std::function<bool()> is_stop_requested = [] { return false; };
  // Before each step; `step` counts from 1.
  std::function<void(int64_t step)> before_step;
  // After each step; `seconds` is its wall time on this rank.
  std::function<void(const StepResult&, const Progress&, double seconds)> on_step;
  // Held-out results of the adapter as it is now. Collective. Absent: no evaluation.
  std::function<std::vector<TaskResult>()> evaluate;
  std::function<void(int64_t steps_done, const std::vector<TaskResult>&)> on_evaluated;
  // After each step and its evaluation; the place to save. Collective.
  std::function<void(const StepBoundary&, const Progress&)> on_boundary;
};

class Trainer {
 public:
  struct Options {
    TrainConfig train;
    EvalConfig eval;
    int64_t num_steps = 0;
    std::optional<RowPosition> end;  // of the data of the run; none: as many rows as steps ask for
  };
  // Everything is referred to and must outlive this object, which alone uses the feeder until then.
  struct Parts {
    TrainStep& step;
    RowFeeder& feeder;
    const Mesh& mesh;
    AdamW& optimizer;
  };
  Trainer(const Parts& parts, Options options, TrainerHooks hooks);

  enum class End {
    kDone,     // all steps are done
    kStopped,  // some rank was asked to stop; the last boundary said so
  };
  // Goes on from `progress`, which is kept up to date at every boundary. Collective.
  // Throws: NumericsError when max_nonfinite_steps steps in a row had a loss or gradient that is
  // not finite, with the first such tensor; whatever the hooks throw.
  End run(Progress& progress);

 private:
  void evaluate_before(Progress& progress);
  StepResult one_step(Progress& progress);
  StepInput take_input(RowPosition& position);
  void count_skips(const StepResult& result, Progress& progress);
  bool evaluation_is_due(int64_t steps_done) const;
  bool evaluate_after(Progress& progress);

  Parts parts_;
  Options options_;
  TrainerHooks hooks_;
  StepFeeder inputs_;
};

}  // namespace molora
