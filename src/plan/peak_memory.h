// The memory of one rank at its fullest moment in a step, by class, predicted.
//
// Four moments are compared: the loss at the end of a forward pass (everything kept, a chunk of
// logits), the backward pass of the last layer (everything kept, that layer's temporaries), that of
// the first layer (little kept, all gradients there), and the update (gradients, and what summing
// them takes). In between what is kept becomes less as gradients become more. Numbers are those of
// tensors, in bytes; what the allocator holds beyond that is in `reserve`.
#pragma once

#include "plan/kept_activations.h"
#include "plan/plan_input.h"

namespace molora {

struct RankMemory {
  double base = 0;             // the slice of the frozen model, quantised where asked for
  double adapter = 0;          // trained parameters, in the master type
  double gradients = 0;        // of this micro-step and the sums of the last step
  double moments = 0;          // AdamW's; 0 on a GPU with offload_optimizer
  double activations = 0;      // kept for the backward pass
  double working_set = 0;      // temporaries at the fullest moment
  double exchange = 0;         // of them, what collectives send and receive
  double checkpoint_copy = 0;  // 0 on a GPU: it lies in the host's memory
  double program = 0;          // code and libraries; on a GPU context, cuBLAS and NCCL
  double reserve = 0;          // what the allocator holds beyond the tensors
  double tensors() const {
    return base + adapter + gradients + moments + activations + working_set + exchange;
  }
  double total() const { return tensors() + checkpoint_copy + program + reserve; }
};

RankMemory peak_memory(const PlanInput& input, const ExchangeModes& modes);

// Of the machine's own memory, when ranks compute on GPUs: moments that are offloaded, and the copy
// for checkpoints.
double host_memory_of_gpu_rank(const PlanInput& input, const ExchangeModes& modes);

// What the base takes on one rank.
double base_bytes(const PlanInput& input);

}  // namespace molora
