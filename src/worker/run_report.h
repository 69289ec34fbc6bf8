// What a training run tells the world while it goes on: progress line, metrics file, final table.
// Only rank 0 has one.
#pragma once

#include <memory>
#include <optional>
#include <string>
#include <vector>

#include <nlohmann/json_fwd.hpp>

#include "checkpoint.pb.h"
#include "comm/mesh.h"
#include "model/adapter.h"
#include "report/event_file.h"
#include "report/metrics_file.h"
#include "report/progress_line.h"
#include "report/rank_report.h"
#include "train/train_step.h"
#include "worker/run_folder.h"

namespace molora {

class RunReport {
 public:
  struct Options {
    int64_t num_steps = 0;
    int64_t steps_done = 0;  // when the run starts or goes on
    int64_t log_every = 1;
    int world_size = 1;
    // Of the training data, by their numbers: tasks, and what samples are written in.
    std::vector<std::string> tasks = {};
    std::vector<std::string> scripts = {};
    bool has_tensorboard = false;  // whether to write event files as well
    ProgressLine::Style progress = ProgressLine::Style::kLines;
  };
  // Opens the metrics file and drops what it holds of steps that will be done again.
  RunReport(const RunFolder& folder, const AdapterSet& adapters, const Options& options);

  // What a step cost: wall time of this rank, bytes sent by all ranks.
  struct StepCost {
    double seconds = 0.0;
    Traffic traffic;
  };
  void step_done(const StepResult& result, const Progress& progress, const StepCost& cost);
  void evaluated(int64_t steps_done, const std::vector<TaskResult>& results);
  // Warns of ranks whose own work takes this many times the median.
  void ranks(int64_t steps_done, const RankUsages& usages, double straggler_factor);
  void show_phase(const std::string& phase) { line_.show_phase(phase); }
  // Brings the metrics to the device.
  void sync();

 private:
  void append(const nlohmann::json& line);
  void routers_read(const RouterReading& reading, const StepResult& result, int64_t step);
  void alarmed(const std::vector<RouterAlarm>& alarms);

  std::vector<std::string> tasks_;
  std::vector<std::string> scripts_;
  std::vector<int64_t> routed_experts_;  // by router
  MetricsFile metrics_;
  std::optional<EventFile> events_;
  ProgressLine line_;
};

// The table of results for people; written to `path` as well.
std::string write_results(const std::filesystem::path& path, const std::vector<TaskResult>& before,
                          const std::vector<TaskResult>& after);

}  // namespace molora
