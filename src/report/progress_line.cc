#include "report/progress_line.h"

#include <sys/ioctl.h>
#include <unistd.h>

#include <algorithm>
#include <cmath>

#include <fmt/format.h>

#include "base/log.h"
#include "base/relay_mark.h"

namespace molora {

namespace {

// What cannot be shown is not worth an error: the line is written with write(2) and its result
// ignored on purpose.
void write_to_terminal(const std::string& text) {
  [[maybe_unused]] const ssize_t written = ::write(STDERR_FILENO, text.data(), text.size());
}

int terminal_columns() {
  winsize size{};
  if (::ioctl(STDERR_FILENO, TIOCGWINSZ, &size) != 0 || size.ws_col == 0) return 80;
  return size.ws_col;
}

std::string format_rate(double tokens_per_second) {
  if (tokens_per_second >= 1e6) return fmt::format("{:.2f}M tok/s", tokens_per_second / 1e6);
  if (tokens_per_second >= 1e4) return fmt::format("{:.1f}k tok/s", tokens_per_second / 1e3);
  return fmt::format("{:.0f} tok/s", tokens_per_second);
}

}  // namespace

void SpeedMeter::add(int64_t tokens, double seconds) {
  constexpr double kKeep = 0.95;
  tokens_ = tokens_ * kKeep + static_cast<double>(tokens);
  seconds_ = seconds_ * kKeep + seconds;
  steps_ = steps_ * kKeep + 1.0;
}

double SpeedMeter::tokens_per_second() const { return seconds_ > 0.0 ? tokens_ / seconds_ : 0.0; }

double SpeedMeter::seconds_left(int64_t steps) const {
  return steps_ > 0.0 ? seconds_ / steps_ * static_cast<double>(steps) : 0.0;
}

std::string format_duration(double seconds) {
  const auto total = static_cast<int64_t>(std::llround(std::max(0.0, seconds)));
  const int64_t minutes = total / 60;
  const int64_t hours = minutes / 60;
  if (total < 60) return fmt::format("{}s", total);
  if (hours < 1) return fmt::format("{}:{:02}", minutes, total % 60);
  if (hours < 48) return fmt::format("{}:{:02}:{:02}", hours, minutes % 60, total % 60);
  return fmt::format("{}d {:02}h", hours / 24, hours % 24);
}

std::string progress_text(const ProgressSample& sample, int64_t num_steps, const SpeedMeter& speed,
                          int columns) {
  const std::string loss = sample.is_skipped ? std::string("loss not finite, skipped")
                                             : fmt::format("loss {:.4f}", sample.loss);
  std::string text = fmt::format("step {}/{}  {}  lr {:.2e}  {}  ETA {}", sample.step, num_steps,
                                 loss, sample.learning_rate, format_rate(speed.tokens_per_second()),
                                 format_duration(speed.seconds_left(num_steps - sample.step)));
  constexpr int kShortestBar = 8;
  const int bar = std::min(20, columns - static_cast<int>(text.size()) - 8);
  if (bar >= kShortestBar) {
    const double share =
        num_steps > 0 ? static_cast<double>(sample.step) / static_cast<double>(num_steps) : 1.0;
    const auto filled = static_cast<size_t>(std::clamp(share, 0.0, 1.0) * bar);
    text = fmt::format("[{}{}] {:3.0f}%  {}", std::string(filled, '='),
                       std::string(static_cast<size_t>(bar) - filled, ' '), 100.0 * share, text);
  }
  if (columns > 0) text.resize(std::min(text.size(), static_cast<size_t>(columns)));
  return text;
}

bool ProgressLine::stderr_is_terminal() { return ::isatty(STDERR_FILENO) == 1; }

ProgressLine::ProgressLine(const Options& options) : options_(options) {
  if (options_.style != Style::kBar) return;
  set_log_line_hooks({[](void* owner) { static_cast<ProgressLine*>(owner)->erase(); },
                      [](void* owner) { static_cast<ProgressLine*>(owner)->draw(); }, this});
}

ProgressLine::~ProgressLine() {
  if (options_.style != Style::kBar) return;
  set_log_line_hooks({});
  if (!line_.empty()) write_to_terminal("\n");
}

void ProgressLine::step_done(const ProgressSample& sample) {
  speed_.add(sample.tokens, sample.seconds);
  if (options_.style != Style::kLines) {
    line_ = progress_text(sample, options_.num_steps, speed_, terminal_columns() - 1);
    draw();
  } else if (sample.step % options_.log_every == 0 || sample.step == options_.num_steps ||
             sample.is_skipped) {
    spdlog::info("{}", progress_text(sample, options_.num_steps, speed_, /*columns=*/0));
  }
}

void ProgressLine::show_phase(const std::string& phase) {
  if (options_.style == Style::kLines) return;
  line_ = phase.substr(0, static_cast<size_t>(std::max(0, terminal_columns() - 1)));
  draw();
}

void ProgressLine::erase() {
  if (!line_.empty()) write_to_terminal("\r\033[K");
}

void ProgressLine::draw() {
  if (line_.empty()) return;
  write_to_terminal(options_.style == Style::kRelayed ? kRelayedProgress + line_ + "\n"
                                                      : "\r\033[K" + line_);
}

}  // namespace molora
