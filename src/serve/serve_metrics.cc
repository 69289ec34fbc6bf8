#include "serve/serve_metrics.h"

#include <fmt/format.h>

namespace molora {

namespace {

template <typename Number>
std::string metric(const char* name, const char* type, const char* help, Number value) {
  return fmt::format("# HELP molora_{0} {2}\n# TYPE molora_{0} {1}\nmolora_{0} {3}\n", name, type,
                     help, value);
}

}  // namespace

void ServeMetrics::count_answer(int status) {
  const std::lock_guard lock(mutex_);
  ++answers_[status];
}

void ServeMetrics::count_usage(const CompletionUsage& usage) {
  const std::lock_guard lock(mutex_);
  prompt_tokens_ += static_cast<uint64_t>(usage.prompt_tokens);
  completion_tokens_ += static_cast<uint64_t>(usage.completion_tokens);
}

void ServeMetrics::count_broken_stream() {
  const std::lock_guard lock(mutex_);
  ++broken_streams_;
}

std::string ServeMetrics::text(const WorkCounts& work) const {
  const std::lock_guard lock(mutex_);
  std::string text =
      "# HELP molora_http_answers_total HTTP answers by status\n"
      "# TYPE molora_http_answers_total counter\n";
  for (const auto& [status, count] : answers_) {
    text += fmt::format("molora_http_answers_total{{status=\"{}\"}} {}\n", status, count);
  }
  text += metric("prompt_tokens_total", "counter", "Tokens of the prompts of finished requests",
                 prompt_tokens_);
  text += metric("completion_tokens_total", "counter", "Tokens of the answers of finished requests",
                 completion_tokens_);
  text += metric("broken_streams_total", "counter", "Streams that did not come to their end",
                 broken_streams_);
  text += metric("steps_total", "counter", "Forward passes", work.steps);
  text += metric("chosen_tokens_total", "counter", "Tokens that the model chose", work.tokens);
  text += metric("abandoned_sequences_total", "counter",
                 "Sequences whose client went away or whose time was over", work.abandoned);
  text += metric("running_sequences", "gauge", "Sequences with a place in a batch", work.running);
  text += metric("waiting_sequences", "gauge", "Sequences that wait for a place", work.waiting);
  return text;
}

}  // namespace molora
