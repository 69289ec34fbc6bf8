// Between our stacked tensors and the per-expert tensors that the Python world writes.
//
//   ours                               published (PEFT for plain LoRA, MING for experts)
//   <path>.lora_A [1, r, in]           base_model.model.model.<path>.lora_A.weight [r, in]
//   <path>.lora_B [1, r, out]          base_model.model.model.<path>.lora_B.weight [out, r]
//   <path>.lora_A [E, r, in], e        ...<path>.experts.<e>.lora_A_<e>.weight [r, in]
//   <path>.lora_B [E, r, out], e       ...<path>.experts.<e>.lora_B_<e>.weight [out, r]
//   <path>.magnitude [out]             base_model.model.model.<path>.lora_magnitude_vector [out]
//   <path>.router.weight [E, in]       ...<path>.switch.weight [E, in]
//   <path>.router.bias [E]             ...<path>.switch.bias [E]
// In the files of MoE-PEFT the prefix is "mixlora." (experts that are whole MLPs) or "mola." (a
// router for each linear), experts are <path>.experts.<e>.lora_A.weight, routers have no bias and
// are <path>.moe_gate.weight, <path> being that of the MLP for "mixlora.".
#pragma once

#include <map>
#include <string>
#include <vector>

#include <ATen/ATen.h>

#include "model/adapter.h"

namespace molora {

using at::Tensor;

enum class PublishedForm { kMing, kMixlora, kMola };

struct PublishedTensor {
  std::string name;
  Tensor value;
};

// The published tensors of one parameter, out of `value`, which has the whole parameter's shape
// (the parameter itself, its gradient, or a moment). Views where the layout allows it.
// REQUIRES: the form can hold the adapter (check_export()).
std::vector<PublishedTensor> to_published(const LinearAdapter& linear, const Parameter& parameter,
                                          const Tensor& value,
                                          PublishedForm form = PublishedForm::kMing);

// All of them, in the order of the adapter set's parameters. REQUIRES: this rank holds them whole.
std::vector<PublishedTensor> to_published(const AdapterSet& adapters,
                                          PublishedForm form = PublishedForm::kMing);

// The linear that the parameter is of.
const LinearAdapter& linear_of(const AdapterSet& adapters, const Parameter& parameter);

// Overwrites this rank's slices of the adapters with those of published tensors, whose names tell
// their form. Where the form has no router bias it becomes zero.
// Throws: DataError (with `origin`) when one is missing, left over or has another shape; nothing is
// changed then.
void load_published(const std::map<std::string, Tensor>& tensors, const std::string& origin,
                    AdapterSet& adapters);

}  // namespace molora
