// All that is known of a run, for its picture: what its folder holds, read once.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "report/run_log.h"

namespace molora {

// A bad end, of the run or of one of its starts (proto/supervision.proto, Reason).
struct FaultNote {
  std::string kind;  // "lost", "hang", ...; "stopped" for an end that was asked for
  std::string sentence;
  std::string action;
  std::string time;  // UTC, ISO 8601
  std::string host;
  int64_t attempt = 0;  // 0: not told
  int64_t rank = -1;    // -1: no single one
  int64_t step = -1;    // -1: not told
  int64_t exit_code = 0;
};

// The reason that this text of JSON tells; false when it is none.
bool read_fault(const std::string& text, FaultNote& fault);
// Of lines, one reason each; what is none is counted.
std::vector<FaultNote> read_faults(const std::string& lines, int64_t& num_bad_lines);

struct CheckpointNote {
  enum class State { kWhole, kUnfinished, kDamaged };
  int64_t step = 0;
  std::string name;  // of its folder
  State state = State::kWhole;
  uint64_t bytes = 0;
  std::string time;  // UTC, of its last change
};

struct Field {
  std::string name;
  std::string value;
};

enum class RunState {
  kEmpty,    // has no step yet, and nothing writes it
  kRunning,  // a process holds its folder, or wrote to it a moment ago
  kDone,     // has all its steps
  kEnded,    // with a reason (RunRecord::reason)
  kStopped,  // before its last step, and no reason is there
};
// "done", "running" ...
const char* state_name(RunState state);

struct RunRecord {
  std::string name;    // of its folder, or what tells it from others of the same name
  std::string folder;  // as it was asked for
  RunState state = RunState::kEmpty;
  RunLog log;
  std::vector<FaultNote> faults;
  std::vector<FaultNote> reason;  // of the latest end, if there is one: none or one
  std::vector<CheckpointNote> checkpoints;
  std::vector<Field> summary;         // the configuration in short
  std::vector<Field> settings;        // every field of it, in the order of the schema
  std::vector<Field> changes;         // fields that are not at their default
  std::vector<std::string> problems;  // files that cannot be read, with what is wrong
};

// What the header and the table of runs tell.
struct RunTotals {
  int64_t steps = 0;
  int64_t num_steps = 0;  // 0: not told
  double tokens = 0.0;
  double seconds = 0.0;
  double tokens_per_second = kNoNumber;  // median over the steps
  double loss_before = kNoNumber;        // held out, at the first and the last evaluation
  double loss_after = kNoNumber;
  int64_t questions = 0;  // of the last evaluation
  int64_t correct_before = 0;
  int64_t correct_after = 0;
  bool has_before = false;  // whether there is an evaluation before the last one
  int64_t num_ranks = 0;
  double peak_memory_bytes = kNoNumber;  // of the rank with most
  double sent_bytes = 0.0;
  int64_t num_skipped = 0;
};
RunTotals totals_of(const RunLog& log);

}  // namespace molora
