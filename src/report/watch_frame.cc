#include "report/watch_frame.h"

#include <algorithm>
#include <array>
#include <cmath>

#include <fmt/format.h>

#include "base/unit_text.h"
#include "report/axis_scale.h"
#include "report/progress_line.h"
#include "report/wilson.h"

namespace molora {

namespace {

constexpr std::array<const char*, 8> kBlocks = {"\u2581", "\u2582", "\u2583", "\u2584",
                                                "\u2585", "\u2586", "\u2587", "\u2588"};
constexpr std::array<const char*, 4> kAsciiLevels = {"_", "-", "=", "#"};

// No control character of a file reaches the terminal; characters of UTF-8 are one column each,
// which wide ones are not: the terminal cuts those lines.
std::string visible(const std::string& text) {
  std::string shown;
  for (const char c : text) {
    const auto code = static_cast<unsigned char>(c);
    shown += code < 0x20 || code == 0x7F ? '?' : c;
  }
  return shown;
}

bool begins_character(char c) { return (static_cast<unsigned char>(c) & 0xC0) != 0x80; }

std::string cut(const std::string& text, int columns) {
  int count = 0;
  for (size_t i = 0; i < text.size(); ++i) {
    if (begins_character(text[i]) && ++count > columns) return text.substr(0, i);
  }
  return text;
}

size_t width_of(const std::string& text) {
  return static_cast<size_t>(std::count_if(text.begin(), text.end(), begins_character));
}

std::string padded(const std::string& text, size_t width) {
  const size_t has = width_of(text);
  return text + std::string(has < width ? width - has : 0, ' ');
}

// At most `width` values: each the mean of neighbours.
std::vector<double> squeezed(const std::vector<double>& values, size_t width) {
  if (values.size() <= width) return values;
  std::vector<double> means;
  for (size_t i = 0; i < width; ++i) {
    const size_t begin = i * values.size() / width;
    const size_t end = (i + 1) * values.size() / width;
    double sum = 0.0;
    size_t count = 0;
    for (size_t at = begin; at < end; ++at) {
      if (!std::isfinite(values[at])) continue;
      sum += values[at];
      ++count;
    }
    means.push_back(count == 0 ? kNoNumber : sum / static_cast<double>(count));
  }
  return means;
}

std::string progress_bar(double share, size_t width, Glyphs glyphs) {
  const auto filled = static_cast<size_t>(std::clamp(share, 0.0, 1.0) * static_cast<double>(width));
  std::string bar;
  for (size_t i = 0; i < width; ++i) {
    if (glyphs == Glyphs::kUnicode) {
      bar += i < filled ? "\u2588" : "\u2591";
    } else {
      bar += i < filled ? '#' : '.';
    }
  }
  return bar;
}

// The pace of the last steps, as the progress line of the run has it.
SpeedMeter speed_of(const RunLog& log) {
  SpeedMeter speed;
  constexpr size_t kRemembered = 100;
  const std::vector<StepPoint>& steps = log.steps();
  for (size_t i = steps.size() - std::min(steps.size(), kRemembered); i < steps.size(); ++i) {
    if (!std::isfinite(steps[i].seconds) || !std::isfinite(steps[i].tokens)) continue;
    speed.add(static_cast<int64_t>(steps[i].tokens), steps[i].seconds);
  }
  return speed;
}

class Frame {
 public:
  Frame(const RunRecord& run, FrameSize size, Glyphs glyphs)
      : run_(run), log_(run.log), size_(size), glyphs_(glyphs) {}

  std::vector<std::string> lines() {
    add(fmt::format("{}  {}", visible(run_.name), state_name(run_.state)));
    if (log_.steps().empty() && log_.evaluations().empty()) {
      add("");
      add("no step yet");
    } else {
      add_progress();
      add("");
      add_curves();
      add_experts();
      add_tasks();
    }
    add_faults();
    return std::move(lines_);
  }

 private:
  void add(const std::string& line) {
    if (static_cast<int>(lines_.size()) < size_.rows) lines_.push_back(cut(line, size_.columns));
  }

  void add_progress() {
    const int64_t step = log_.last_step();
    const SpeedMeter speed = speed_of(log_);
    const int64_t total = log_.num_steps();
    const std::string left = run_.state == RunState::kRunning && total > step
                                 ? "ETA " + format_duration(speed.seconds_left(total - step))
                                 : "took " + format_duration(log_.total_seconds());
    const double share = total > 0 ? static_cast<double>(step) / static_cast<double>(total) : 1.0;
    const std::string text = fmt::format(" {:3.0f}%  step {}/{}  {}", 100 * share, step,
                                         total > 0 ? std::to_string(total) : "?", left);
    const int room = size_.columns - static_cast<int>(text.size());
    constexpr int kShortest = 8;
    constexpr int kLongest = 50;
    const std::string bar =
        room < kShortest
            ? ""
            : progress_bar(share, static_cast<size_t>(std::min(kLongest, room)), glyphs_);
    add(bar + text);
  }

  template <typename Of>
  std::vector<double> values(const Of& of) const {
    std::vector<double> values;
    for (const StepPoint& step : log_.steps()) values.push_back(of(step));
    return values;
  }

  void add_curve(const std::string& name, const std::vector<double>& values,
                 const std::string& latest) {
    const int room = size_.columns - 16 - static_cast<int>(latest.size()) - 2;
    constexpr int kLeast = 8;
    const std::string line =
        room < kLeast ? ""
                      : sparkline(values, static_cast<size_t>(std::min(room, 60)), glyphs_) + "  ";
    add(padded(name, 16) + line + latest);
  }

  void add_curves() {
    if (!log_.steps().empty()) {
      const StepPoint& last = log_.steps().back();
      add_curve(
          "training loss", values([](const StepPoint& step) { return step.loss; }),
          last.is_skipped ? "not finite, skipped" : quantity_text(last.loss, Quantity::kNumber));
      add_curve("tokens/s", values([](const StepPoint& step) { return step.tokens_per_second; }),
                quantity_text(speed_of(log_).tokens_per_second(), Quantity::kRate));
    }
    std::vector<double> held_out;
    for (const Evaluation& evaluation : log_.evaluations()) held_out.push_back(evaluation.loss);
    if (held_out.empty()) return;
    add_curve("held-out loss", held_out,
              fmt::format("{} at step {}", quantity_text(held_out.back(), Quantity::kNumber),
                          log_.evaluations().back().step));
  }

  void add_experts() {
    if (log_.loads().spans().empty()) return;
    const StepPoint& last = log_.steps().back();
    add_curve("expert evenness", values([](const StepPoint& step) { return step.evenness; }),
              fmt::format("{:.3f}, one expert has {} at most", last.evenness,
                          quantity_text(last.largest_share, Quantity::kShare)));
    size_t num_dead = 0;
    const LoadSpan latest = log_.loads().latest();
    for (const auto& router : latest.counts) {
      num_dead += static_cast<size_t>(std::count(router.begin(), router.end(), 0.0));
    }
    if (num_dead == 0) return;
    add(fmt::format("{}{} expert{} not chosen since step {}", std::string(16, ' '), num_dead,
                    num_dead == 1 ? "" : "s", latest.first_step));
  }

  void add_tasks() {
    if (log_.evaluations().empty() || log_.evaluations().back().tasks.empty()) return;
    const Evaluation& last = log_.evaluations().back();
    const Evaluation& first = log_.evaluations().front();
    add("");
    add(fmt::format("{:<22}{:>8}{:>10}{:>10}  {}", fmt::format("tasks at step {}", last.step),
                    "samples", "loss", "from", "accuracy, 95 % interval"));
    for (const TaskScore& task : last.tasks) {
      const auto before =
          std::find_if(first.tasks.begin(), first.tasks.end(),
                       [&](const TaskScore& other) { return other.task == task.task; });
      const bool has_before = first.step < last.step && before != first.tasks.end();
      add(fmt::format("{}{:>8}{:>10}{:>10}  {}", padded(cut(visible(task.task), 21), 22),
                      task.samples, loss_text(task.loss),
                      has_before ? loss_text(before->loss) : "-", accuracy_text(task)));
    }
  }

  static std::string loss_text(double loss) {
    return std::isfinite(loss) ? fmt::format("{:.4f}", loss) : "-";
  }

  static std::string accuracy_text(const TaskScore& task) {
    if (task.questions <= 0) return "-";
    const Interval interval = wilson_interval(task.correct, task.questions);
    return fmt::format(
        "{:.1f}% [{:.0f}, {:.0f}]",
        100.0 * static_cast<double>(task.correct) / static_cast<double>(task.questions),
        100 * interval.low, 100 * interval.high);
  }

  void add_faults() {
    if (run_.faults.empty() && run_.reason.empty()) return;
    add("");
    add(fmt::format("{} fault{}", run_.faults.size(), run_.faults.size() == 1 ? "" : "s"));
    constexpr size_t kMost = 3;
    const size_t first = run_.faults.size() - std::min(kMost, run_.faults.size());
    for (size_t i = first; i < run_.faults.size(); ++i) {
      add(visible(fmt::format("{}  {}", run_.faults[i].time, run_.faults[i].sentence)));
    }
  }

  const RunRecord& run_;
  const RunLog& log_;
  FrameSize size_;
  Glyphs glyphs_;
  std::vector<std::string> lines_;
};

}  // namespace

std::string sparkline(const std::vector<double>& all, size_t width, Glyphs glyphs) {
  const std::vector<double> values = squeezed(all, width);
  double low = 0.0;
  double high = 0.0;
  bool has_any = false;
  for (const double value : values) {
    if (!std::isfinite(value)) continue;
    low = has_any ? std::min(low, value) : value;
    high = has_any ? std::max(high, value) : value;
    has_any = true;
  }
  const size_t levels = glyphs == Glyphs::kUnicode ? kBlocks.size() : kAsciiLevels.size();
  std::string line;
  for (const double value : values) {
    if (!std::isfinite(value)) {
      line += ' ';
      continue;
    }
    const double part = high > low ? (value - low) / (high - low) : 0.5;
    const size_t level =
        std::min(levels - 1, static_cast<size_t>(part * static_cast<double>(levels)));
    line += glyphs == Glyphs::kUnicode ? kBlocks[level] : kAsciiLevels[level];
  }
  return line;
}

std::vector<std::string> watch_frame(const RunRecord& run, FrameSize size, Glyphs glyphs) {
  return Frame(run, size, glyphs).lines();
}

std::string watch_line(const RunLog& log) {
  if (log.steps().empty()) return {};
  const StepPoint& last = log.steps().back();
  return progress_text(
      {.step = last.step,
       .loss = last.loss,
       .learning_rate = last.learning_rate,
       .tokens = static_cast<int64_t>(std::isfinite(last.tokens) ? last.tokens : 0),
       .seconds = last.seconds,
       .is_skipped = last.is_skipped},
      log.num_steps(), speed_of(log), /*columns=*/0);
}

}  // namespace molora
