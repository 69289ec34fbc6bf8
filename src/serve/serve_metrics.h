// Counters of a server, as text that Prometheus reads.
#pragma once

#include <cstdint>
#include <map>
#include <mutex>
#include <string>

#include "serve/completion.h"
#include "serve/scheduler.h"

namespace molora {

// Any thread.
class ServeMetrics {
 public:
  void count_answer(int status);
  void count_usage(const CompletionUsage& usage);
  // A stream that could not be brought to its end.
  void count_broken_stream();

  // Prometheus' text format 0.0.4.
  std::string text(const WorkCounts& work) const;

 private:
  mutable std::mutex mutex_;
  std::map<int, uint64_t> answers_;  // by status
  uint64_t prompt_tokens_ = 0;
  uint64_t completion_tokens_ = 0;
  uint64_t broken_streams_ = 0;
};

}  // namespace molora
