// The batches of all models that are served, and the steps that ranks make with them together.
#pragma once

#include <chrono>
#include <functional>
#include <vector>

#include "comm/communicator.h"
#include "generate/sequence_batch.h"
#include "serve/scheduler.h"
#include "serve/step_plan.h"

namespace molora {

// Everything of LibTorch and of communication that serving does is called from here, by one thread.
class ModelSteps {
 public:
  // models: over one base and one layout, in the same order on every rank. They and `world` must
  // outlive this object.
  ModelSteps(const std::vector<const CausalLM*>& models, Communicator& world);

  // Of rank 0: takes plans and brings results until `is_stop_asked` and, after that, until nothing
  // is left to do or `grace` is over. Then the others' follow() returns as well.
  // Throws: what a forward pass throws.
  struct Stopping {
    std::function<bool()> is_asked;
    std::chrono::milliseconds grace;
  };
  void lead(Scheduler& scheduler, const Stopping& stopping);

  // Of the other ranks: does what rank 0 does, until it stops.
  void follow();

  // One step of this rank. The first tp group computes and gets the tokens; others help where
  // experts lie across ranks, and get none. Collective over all ranks.
  std::vector<NewToken> make_step(const StepPlan& plan);

 private:
  std::vector<const CausalLM*> models_;
  Communicator& world_;
  std::vector<SequenceBatch> batches_;
};

}  // namespace molora
