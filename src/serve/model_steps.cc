#include "serve/model_steps.h"

#include <optional>

namespace molora {

namespace {

// How soon a request to stop is noticed by a server that has nothing to do.
constexpr std::chrono::milliseconds kIdleWait{50};

}  // namespace

ModelSteps::ModelSteps(const std::vector<const CausalLM*>& models, Communicator& world)
    : models_(models), world_(world) {
  for (const CausalLM* model : models) batches_.emplace_back(*model);
}

void ModelSteps::lead(Scheduler& scheduler, const Stopping& stopping) {
  using Clock = Scheduler::Clock;
  std::optional<Clock::time_point> end;
  while (true) {
    if (!end && stopping.is_asked()) {
      scheduler.close();
      end = Clock::now() + stopping.grace;
    }
    if (end && (scheduler.is_idle() || Clock::now() >= *end)) break;
    const std::optional<StepPlan> plan = scheduler.next_step(Clock::now() + kIdleWait);
    if (!plan) continue;
    if (world_.size() > 1) (void)broadcast_text(world_, plan_bytes(*plan), 0);
    scheduler.deliver(plan->model, make_step(*plan));
  }
  if (world_.size() > 1) (void)broadcast_text(world_, plan_bytes({.is_last = true}), 0);
}

void ModelSteps::follow() {
  while (true) {
    const StepPlan plan = plan_of_bytes(broadcast_text(world_, {}, 0));
    if (plan.is_last) return;
    (void)make_step(plan);
  }
}

std::vector<NewToken> ModelSteps::make_step(const StepPlan& plan) {
  const CausalLM& model = *models_.at(plan.model);
  std::vector<NewToken> tokens;
  if (model.layout().mesh.dp_rank() == 0) {
    SequenceBatch& batch = batches_[plan.model];
    for (const uint64_t key : plan.removed) batch.remove(key);
    for (const NewSequence& sequence : plan.added) batch.add(sequence);
    tokens = batch.step();
  }
  model.join_others();
  return tokens;
}

}  // namespace molora
