// The one line that a person watches: step, loss, learning rate, tokens per second, time left.
//
// On a terminal it is redrawn in place and steps aside for log lines; elsewhere (a file, a pipe, a
// Slurm log) it becomes plain log lines. Under a supervisor with a terminal it is sent there
// (base/relay_mark.h). One thread; rank 0 only.
#pragma once

#include <cstdint>
#include <string>

namespace molora {

struct ProgressSample {
  int64_t step = 0;  // steps done
  double loss = 0.0;
  double learning_rate = 0.0;
  int64_t tokens = 0;    // of this step
  double seconds = 0.0;  // of this step
  bool is_skipped = false;
};

// Smoothed speed and the time that is left.
class SpeedMeter {
 public:
  void add(int64_t tokens, double seconds);
  double tokens_per_second() const;
  // Seconds for `steps` more steps at the recent pace; 0 before the first step.
  double seconds_left(int64_t steps) const;

 private:
  double tokens_ = 0.0;  // exponentially forgotten sums over about the last 20 steps
  double seconds_ = 0.0;
  double steps_ = 0.0;
};

// "59s", "12:05" (minutes), "3:25:09" (hours), "2d 03h".
std::string format_duration(double seconds);

// The text of the line, no wider than `columns` characters (0: no limit); with a bar when there is
// room for it.
std::string progress_text(const ProgressSample& sample, int64_t num_steps, const SpeedMeter& speed,
                          int columns);

class ProgressLine {
 public:
  enum class Style {
    kLines,    // log lines
    kBar,      // standard error is a terminal
    kRelayed,  // standard error is read by a supervisor that has a terminal
  };
  struct Options {
    int64_t num_steps = 0;
    int64_t log_every = 1;  // plain lines: one in so many steps, and the last
    Style style = Style::kLines;
  };
  explicit ProgressLine(const Options& options);
  ~ProgressLine();
  ProgressLine(const ProgressLine&) = delete;
  ProgressLine& operator=(const ProgressLine&) = delete;
  ProgressLine(ProgressLine&&) = delete;
  ProgressLine& operator=(ProgressLine&&) = delete;

  void step_done(const ProgressSample& sample);
  // What is going on between steps ("evaluating", "saving"), shown until the next step; not as log
  // lines.
  void show_phase(const std::string& phase);

  static bool stderr_is_terminal();

 private:
  void erase();
  void draw();

  Options options_;
  SpeedMeter speed_;
  std::string line_;
};

}  // namespace molora
