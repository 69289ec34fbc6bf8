// Loading a checkpoint into a run whose adapters have another number, size or scale of experts.
//
// Single-device meaning: every linear's whole tensors go in, whole new tensors come out
// (checkpoint/surgery_plan.h has the rules). Each rank does that for one linear after the other and
// keeps its own slices, so that every layout gets the same numbers. With f the factor of lora_B:
//
//              expert that is left     added expert           with a smaller lora_rank
//   lora_A     its rows                as the run began       sqrt(s_i) v_i
//   lora_B     f times its rows        0                      sqrt(s_i) u_i
//   router     its row and bias        0, added_expert_bias   its row and bias
//   moments    its own; of lora_B      0                      0 of lora_A and lora_B
//              over f and f^2
//
// s_i, u_i and v_i are the singular values and vectors of f B^T A. Rows that a larger lora_rank
// adds, and rows that a pair has no use for, are as an added expert's: they can still learn. The
// moments follow from d loss / d (f B) = d loss / d B / f. What a run begins with does not depend
// on its layout, so neither does what stays as it began.
#pragma once

#include <functional>
#include <string>
#include <vector>

#include <ATen/ATen.h>

#include "checkpoint/surgery_plan.h"
#include "checkpoint/training_state.h"

namespace molora {

// A whole tensor of the checkpoint by its name, "adapter/layers.0.mlp.gate_proj.lora_A". May be
// asked for tensors that the state does not have (routers that vanish); ranks ask for different
// ones, so it must not be collective.
using ReadWholeTensor = std::function<Tensor(const std::string& name)>;

// Fills this rank's slices of `state`; undefined ones are passed over, the progress is left alone.
// Returns what the tensors have told, for the log; the same lines on every rank.
// REQUIRES: plan = plan_surgery(the checkpoint's configuration, this run's); the slices of lora_A
// hold what the run began with.
// Throws: ConfigError when the tensors show that the forward pass would change and the plan does
// not allow it, the same on every rank; CheckpointError when a tensor is not what the checkpoint's
// configuration says. Nothing was changed then.
std::vector<std::string> load_with_surgery(const SurgeryPlan& plan, const ReadWholeTensor& stored,
                                           TrainingState& state);

}  // namespace molora
