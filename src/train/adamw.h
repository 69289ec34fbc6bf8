// AdamW over the trained tensors (Loshchilov & Hutter 2017, arXiv 1711.05101), as torch.optim.AdamW
// computes it, with a learning rate of its own for the B of low-rank pairs (LoRA+, Hayou et al.
// 2024, arXiv 2402.12354).
#pragma once

#include <cstdint>
#include <vector>

#include <ATen/ATen.h>

#include "kernels/adamw_step.h"
#include "model/adapter.h"
#include "run_config.pb.h"

namespace molora {

using at::Tensor;

// State: two moments per parameter, in the parameter's own type, and the number of updates made.
// With train.offload_optimizer the moments of parameters on a GPU lie in the host's memory, and the
// host computes the update.
// With a sharded optimizer each rank has one for the parameters that it updates
// (parallel/gradient_sync.h).
class AdamW {
 public:
  // Shares the parameters' storage.
  AdamW(std::vector<Parameter> parameters, const TrainConfig& config);

  const std::vector<Parameter>& parameters() const { return parameters_; }

  // One update with these gradients (one per parameter, same shape and type), each times
  // gradient_scale; of a B with learning_rate times train.lora_plus_ratio. Frozen rows keep their
  // values and moments to the bit.
  void update(const std::vector<Tensor>& gradients, double learning_rate,
              double gradient_scale = 1.0);

  int64_t num_updates() const { return num_updates_; }
  void set_num_updates(int64_t updates) { num_updates_ = updates; }
  // By parameter; shared storage, so that a checkpoint can be read into them.
  const std::vector<Tensor>& first_moments() const { return first_; }
  const std::vector<Tensor>& second_moments() const { return second_; }

 private:
  void step(std::vector<AdamWTensor>& tensors, const AdamWSettings& settings) const;

  std::vector<Parameter> parameters_;
  double beta1_;
  double beta2_;
  double eps_;
  double weight_decay_;
  double lora_plus_ratio_;
  bool is_offloaded_;
  std::vector<Tensor> first_;
  std::vector<Tensor> second_;
  int64_t num_updates_ = 0;
};

}  // namespace molora
