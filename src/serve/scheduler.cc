#include "serve/scheduler.h"

#include <algorithm>
#include <utility>

#include <fmt/format.h>

#include "base/check.h"

namespace molora {

Scheduler::Scheduler(size_t num_models, const WorkLimits& limits)
    : limits_(limits), waiting_(num_models), removed_(num_models) {
  MOLORA_CHECK(num_models > 0 && limits.max_running > 0, "{} models, {} places", num_models,
               limits.max_running);
}

std::optional<StepPlan> Scheduler::next_step(Clock::time_point until) {
  Lock lock(mutex_);
  if (!work_came_.wait_until(lock, until, [this] { return next_model().has_value(); })) {
    return std::nullopt;
  }
  StepPlan plan;
  plan.model = last_model_ = *next_model();
  plan.removed = std::exchange(removed_[plan.model], {});
  start_waiting(plan);
  ++counts_.steps;
  return plan;
}

// The next one in turn that has something to do.
std::optional<size_t> Scheduler::next_model() const {
  for (size_t i = 1; i <= waiting_.size(); ++i) {
    const size_t model = (last_model_ + i) % waiting_.size();
    if (has_work(model)) return model;
  }
  return std::nullopt;
}

bool Scheduler::has_work(size_t model) const {
  return running_of(model) > 0 || !removed_[model].empty() || may_start(model);
}

int64_t Scheduler::running_of(size_t model) const {
  return std::count_if(running_.begin(), running_.end(),
                       [model](const auto& item) { return item.second.model == model; });
}

// Whether the first one that waits for this model may have a place: there is a free one, and the
// model has not had its share while others wait for theirs.
bool Scheduler::may_start(size_t model) const {
  if (waiting_[model].empty() || std::ssize(running_) >= limits_.max_running) return false;
  int64_t num_busy = 0;
  bool do_others_wait = false;
  for (size_t other = 0; other < waiting_.size(); ++other) {
    if (!waiting_[other].empty() || running_of(other) > 0) ++num_busy;
    do_others_wait = do_others_wait || (other != model && !waiting_[other].empty());
  }
  const int64_t share = (limits_.max_running + num_busy - 1) / num_busy;
  return !do_others_wait || running_of(model) < share;
}

void Scheduler::start_waiting(StepPlan& plan) {
  std::deque<Choice>& queue = waiting_[plan.model];
  int64_t tokens = 0;
  while (may_start(plan.model)) {
    const Choice choice = queue.front();
    const PromptWork& work = choice.ticket->work_;
    tokens += std::ssize(work.prompt);
    if (!plan.added.empty() && tokens > limits_.prompt_tokens_step) return;
    queue.pop_front();
    running_.emplace(next_key_, choice);
    plan.added.push_back(
        {next_key_++, work.prompt, work.options, static_cast<int64_t>(choice.index)});
  }
}

void Scheduler::deliver(size_t model, const std::vector<NewToken>& tokens) {
  const Lock lock(mutex_);
  counts_.tokens += tokens.size();
  for (const NewToken& next : tokens) {
    const auto found = running_.find(next.key);
    if (found == running_.end()) {
      // Withdrawn during the step; one that has ended in it is no longer in the batch.
      if (next.end) std::erase(removed_[model], next.key);
      continue;
    }
    const Choice choice = found->second;
    if (next.end) running_.erase(found);
    choice.ticket->events_.push_back({choice.index, next.token, next.end});
    choice.ticket->came_.notify_one();
  }
}

void Scheduler::close() {
  const Lock lock(mutex_);
  is_closed_ = true;
}

bool Scheduler::is_closed() const {
  const Lock lock(mutex_);
  return is_closed_;
}

bool Scheduler::is_idle() const {
  const Lock lock(mutex_);
  return running_.empty() && num_waiting() == 0;
}

void Scheduler::fail_all(const RequestError& error) {
  const Lock lock(mutex_);
  is_closed_ = true;
  const auto fail = [&error](const Choice& choice) {
    choice.ticket->failure_ = error;
    choice.ticket->came_.notify_one();
  };
  for (std::deque<Choice>& queue : waiting_) {
    std::for_each(queue.begin(), queue.end(), fail);
    queue.clear();
  }
  for (const auto& [key, choice] : running_) {
    removed_[choice.model].push_back(key);
    fail(choice);
  }
  running_.clear();
}

WorkCounts Scheduler::counts() const {
  const Lock lock(mutex_);
  WorkCounts counts = counts_;
  counts.running = std::ssize(running_);
  counts.waiting = num_waiting();
  return counts;
}

int64_t Scheduler::num_waiting() const {
  int64_t total = 0;
  for (const std::deque<Choice>& queue : waiting_) total += std::ssize(queue);
  return total;
}

void Scheduler::enter(Ticket& ticket) {
  const Lock lock(mutex_);
  const PromptWork& work = ticket.work_;
  MOLORA_CHECK(work.model < waiting_.size() && work.num_choices > 0, "model {}, {} choices",
               work.model, work.num_choices);
  if (is_closed_) {
    throw RequestError(503, "the server is stopping and takes no new requests", {"", "stopping"});
  }
  const int64_t num_free = limits_.max_running - std::ssize(running_);
  if (num_waiting() + work.num_choices > num_free + limits_.max_waiting) {
    throw RequestError(429,
                       fmt::format("{} answers are under way and {} wait, which is all that this "
                                   "server takes; try again in a moment",
                                   std::ssize(running_), num_waiting()),
                       {"", "queue_full"});
  }
  for (int64_t i = 0; i < work.num_choices; ++i) {
    waiting_[work.model].push_back({&ticket, static_cast<size_t>(i), work.model});
  }
  work_came_.notify_one();
}

void Scheduler::leave(Ticket& ticket) {
  // Together: whoever sees that the places are free sees why.
  const Lock lock(mutex_);
  for (int64_t i = 0; i < ticket.work_.num_choices; ++i) {
    if (take_out(ticket, static_cast<size_t>(i))) ++counts_.abandoned;
  }
}

// Whether the choice was still waiting or running. REQUIRES: the lock is held.
bool Scheduler::take_out(const Ticket& ticket, size_t choice) {
  const auto is_it = [&](const Choice& other) {
    return other.ticket == &ticket && other.index == choice;
  };
  const size_t model = ticket.work_.model;
  const auto running = std::find_if(running_.begin(), running_.end(),
                                    [&](const auto& item) { return is_it(item.second); });
  if (running == running_.end()) return std::erase_if(waiting_[model], is_it) > 0;
  removed_[model].push_back(running->first);
  running_.erase(running);
  work_came_.notify_one();
  return true;
}

Scheduler::Ticket::Ticket(Scheduler& scheduler, PromptWork work)
    : scheduler_(scheduler), work_(std::move(work)) {
  scheduler_.enter(*this);
}

Scheduler::Ticket::~Ticket() { scheduler_.leave(*this); }

std::vector<WorkEvent> Scheduler::Ticket::wait(Clock::time_point until) {
  Lock lock(scheduler_.mutex_);
  came_.wait_until(lock, until, [this] { return !events_.empty() || failure_.has_value(); });
  if (events_.empty() && failure_) throw RequestError(*failure_);
  return std::exchange(events_, {});
}

void Scheduler::Ticket::withdraw(size_t choice) {
  const Lock lock(scheduler_.mutex_);
  (void)scheduler_.take_out(*this, choice);
  std::erase_if(events_, [choice](const WorkEvent& event) { return event.choice == choice; });
}

}  // namespace molora
