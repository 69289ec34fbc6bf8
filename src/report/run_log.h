// What metrics.jsonl tells of a run, kept small enough for any number of steps.
//
// Lines are taken as they come, from a run that is over or going on. A line that is none of a run's
// is counted and passed over: a picture of the rest is worth more than none. Numbers that a line
// does not have (a loss that was not finite is null there) are NaN.
#pragma once

#include <cstdint>
#include <limits>
#include <map>
#include <string>
#include <utility>
#include <vector>

#include <nlohmann/json_fwd.hpp>

#include "report/downsample.h"
#include "report/load_history.h"

namespace molora {

inline constexpr double kNoNumber = std::numeric_limits<double>::quiet_NaN();

struct StepPoint {
  int64_t step = 0;
  double loss = kNoNumber;
  double learning_rate = kNoNumber;
  double grad_norm = kNoNumber;
  double balance_loss = kNoNumber;
  double tokens = kNoNumber;
  double seconds = kNoNumber;
  double tokens_per_second = kNoNumber;
  double evenness = kNoNumber;       // mean over routers (load_history.h)
  double largest_share = kNoNumber;  // of one expert, over all routers
  bool is_skipped = false;
  bool is_recomputed = false;
};

struct TaskScore {
  std::string task;
  int64_t samples = 0;
  double loss = kNoNumber;
  double token_accuracy = kNoNumber;
  int64_t questions = 0;
  int64_t correct = 0;
  double chance = kNoNumber;
};

struct Evaluation {
  int64_t step = 0;
  double loss = kNoNumber;
  std::vector<TaskScore> tasks;
};

// One rank over the steps since the report before.
struct RankPoint {
  std::string host;
  double work = kNoNumber;  // seconds a step
  double waited = kNoNumber;
  double tokens = kNoNumber;  // a step
  double peak_memory_bytes = kNoNumber;
};
struct RankReport {
  int64_t step = 0;
  std::vector<RankPoint> ranks;
};

// The state of the routers, from lines of type "routers".
struct RouterPoint {
  std::string name;
  std::vector<double> load;  // share of each expert
  double entropy = kNoNumber;
  double top1_share = kNoNumber;
  size_t num_dead = 0;
};
struct GroupLoad {
  std::string name;          // of a task or a script
  std::vector<double> load;  // share of each expert, mean over routers
};
struct RouterReport {
  int64_t step = 0;
  std::vector<RouterPoint> routers;
  std::vector<GroupLoad> tasks;
  std::vector<GroupLoad> scripts;
};

// A router that has collapsed, or is well again, from lines of type "alarm".
struct RouterAlarmNote {
  int64_t step = 0;
  std::string router;
  std::string kind;    // "collapsed", "still_collapsed", "recovered"
  std::string action;  // "warn", ...
  size_t num_dead = 0;
};

// Bytes by axis of the mesh, then by kind of collective.
using SentBytes = std::map<std::string, std::map<std::string, double>>;

class RunLog {
 public:
  // A line of the file without its end.
  void add_line(const std::string& line);
  void clear() { *this = RunLog(); }

  bool is_empty() const { return num_lines_ == 0; }
  int64_t num_bad_lines() const { return num_bad_lines_; }
  int64_t first_bad_line() const { return first_bad_line_; }  // counted from 1

  int64_t num_steps() const { return num_steps_; }  // that the run is to have; 0: not told
  int64_t num_ranks() const { return num_ranks_; }  // of its first start; 0: not told
  const std::vector<std::string>& router_names() const { return router_names_; }
  int64_t last_step() const { return steps_.empty() ? 0 : steps_.back().step; }

  const std::vector<StepPoint>& steps() const { return steps_; }
  const std::vector<Evaluation>& evaluations() const { return evaluations_; }
  const std::vector<RankReport>& rank_reports() const { return rank_reports_; }
  const std::vector<RouterReport>& router_reports() const { return router_reports_; }
  const std::vector<RouterAlarmNote>& alarms() const { return alarms_; }
  const LoadHistory& loads() const { return loads_; }
  // Over all steps that are there, by all ranks.
  const SentBytes& sent_bytes() const { return sent_bytes_; }

  // One number of each step.
  std::vector<Point> series(double StepPoint::*number) const;
  double total_tokens() const;
  double total_seconds() const;

 private:
  bool add(const nlohmann::json& line);
  void add_step(const nlohmann::json& line, int64_t step);

  int64_t num_lines_ = 0;
  int64_t num_bad_lines_ = 0;
  int64_t first_bad_line_ = 0;
  int64_t num_steps_ = 0;
  int64_t num_ranks_ = 0;
  std::vector<std::string> router_names_;
  std::vector<StepPoint> steps_;
  std::vector<Evaluation> evaluations_;
  std::vector<RankReport> rank_reports_;
  std::vector<RouterReport> router_reports_;
  std::vector<RouterAlarmNote> alarms_;
  LoadHistory loads_;
  SentBytes sent_bytes_;
};

// Where a router is: "model.layers.3.mlp.gate_proj" is layer 3, linear "gate_proj".
struct RouterPlace {
  int64_t layer = -1;  // -1: not told
  std::string linear;
};
RouterPlace router_place(const std::string& name);

}  // namespace molora
