// The place where requests and the model meet: who waits, who runs, what comes next.
//
// Threads: those of HTTP hold tickets; one other thread, which owns the model, takes plans and
// brings their results. Everything here is behind one lock and nothing in it computes.
//
// Order: sequences of one model start in the order in which they came. Models take turns, step by
// step; and as long as several have work, none takes more places than its share of them.
#pragma once

#include <chrono>
#include <condition_variable>
#include <cstdint>
#include <deque>
#include <map>
#include <mutex>
#include <optional>
#include <vector>

#include "generate/sequence.h"
#include "serve/request_error.h"
#include "serve/step_plan.h"

namespace molora {

struct WorkLimits {
  int64_t max_running = 16;           // sequences in the batches of all models together
  int64_t max_waiting = 256;          // sequences without a place
  int64_t prompt_tokens_step = 4096;  // of the sequences that join in one step; one always may
};

// One request: a prompt that is continued `num_choices` times, as draws 0, 1, ...
struct PromptWork {
  size_t model = 0;
  std::vector<int32_t> prompt;
  GenerationOptions options;
  int64_t num_choices = 1;
};

// What the model did to one choice of a request.
struct WorkEvent {
  size_t choice = 0;
  std::optional<int32_t> token;
  std::optional<GenerationEnd> end;
};

struct WorkCounts {
  int64_t running = 0;
  int64_t waiting = 0;
  uint64_t steps = 0;
  uint64_t tokens = 0;     // that were chosen, stop tokens among them
  uint64_t abandoned = 0;  // sequences whose clients went away, or whose time was over
};

class Scheduler {
 public:
  using Clock = std::chrono::steady_clock;

  class Ticket;

  Scheduler(size_t num_models, const WorkLimits& limits);
  ~Scheduler() = default;
  Scheduler(const Scheduler&) = delete;
  Scheduler& operator=(const Scheduler&) = delete;
  Scheduler(Scheduler&&) = delete;
  Scheduler& operator=(Scheduler&&) = delete;

  // Of the thread that owns the model: what to do next; waits for work until `until`, and then
  // there is none. The sequences of a plan are taken as running from here on.
  std::optional<StepPlan> next_step(Clock::time_point until);
  // What the step of the last plan has brought. REQUIRES: alternates with next_step().
  void deliver(size_t model, const std::vector<NewToken>& tokens);

  // From here on nothing new is taken: 503.
  void close();
  bool is_closed() const;
  // Whether nothing waits and nothing runs.
  bool is_idle() const;
  // Ends whatever waits or runs: its tickets throw `error`. Closes as well.
  void fail_all(const RequestError& error);

  WorkCounts counts() const;

 private:
  struct Choice {
    Ticket* ticket = nullptr;
    size_t index = 0;
    size_t model = 0;
  };
  using Lock = std::unique_lock<std::mutex>;

  void enter(Ticket& ticket);
  void leave(Ticket& ticket);
  bool take_out(const Ticket& ticket, size_t choice);
  bool has_work(size_t model) const;
  std::optional<size_t> next_model() const;
  int64_t running_of(size_t model) const;
  bool may_start(size_t model) const;
  void start_waiting(StepPlan& plan);
  int64_t num_waiting() const;

  const WorkLimits limits_;
  mutable std::mutex mutex_;
  std::condition_variable work_came_;
  std::optional<RequestError> failure_;
  bool is_closed_ = false;
  std::vector<std::deque<Choice>> waiting_;     // by model
  std::map<uint64_t, Choice> running_;          // by key
  std::vector<std::vector<uint64_t>> removed_;  // by model: withdrawn, still in the batch
  size_t last_model_ = 0;
  uint64_t next_key_ = 1;
  WorkCounts counts_;
};

// A request's place, held by the thread that answers it. Neither copied nor moved: the scheduler
// knows where it is.
class Scheduler::Ticket {
 public:
  // Throws: RequestError 429 when too many wait, 503 when nothing is taken any more.
  Ticket(Scheduler& scheduler, PromptWork work);
  // Withdraws what has not ended: its places are free from the next step on.
  ~Ticket();
  Ticket(const Ticket&) = delete;
  Ticket& operator=(const Ticket&) = delete;
  Ticket(Ticket&&) = delete;
  Ticket& operator=(Ticket&&) = delete;

  // What has happened since the last call, in order; waits for something until `until`.
  // Throws: RequestError when the request cannot be ended.
  std::vector<WorkEvent> wait(Clock::time_point until);
  // Gives up one choice; its events that come after are not told.
  void withdraw(size_t choice);

 private:
  friend class Scheduler;

  Scheduler& scheduler_;
  const PromptWork work_;
  std::vector<WorkEvent> events_;
  std::optional<RequestError> failure_;
  std::condition_variable came_;
};

}  // namespace molora
