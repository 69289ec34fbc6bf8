// Whether a step that looks wrong is the model's own or the fault of a machine.
//
// The same rows from the same parameters give the same bits, always. So a step whose loss or
// gradient is not finite, or far larger than those before, is computed again and compared on every
// rank, bit by bit: equal bits are the model's own, however large, others are a fault of the rank
// that had them. (Megatron-LM's rerun state machine does this, by loss alone.)
#pragma once

#include <cstddef>
#include <cstdint>
#include <deque>
#include <optional>
#include <string>
#include <vector>

#include <ATen/ATen.h>

#include "comm/mesh.h"
#include "parallel/parameter.h"

namespace molora {

using at::Tensor;

// The gradient norms of the latest steps that were used.
class NormHistory {
 public:
  void add(double norm);
  // Nothing before there are kFewest.
  std::optional<double> median() const;
  // Oldest first.
  const std::deque<double>& norms() const { return norms_; }

  static constexpr size_t kMost = 32;
  static constexpr size_t kFewest = 8;

 private:
  std::deque<double> norms_;
};

// What one computation of a step came to on this rank, by which another one is compared with it.
struct StepEvidence {
  std::vector<double> numbers;  // this rank's part of the loss and of the routers' statistics
  std::vector<Tensor> local;    // its gradients, of every parameter
  std::vector<double> summed;   // numbers, summed over the ranks
  std::vector<Tensor> sums;     // gradients, summed over the ranks: of the parameters it updates
};

// A rank that had other bits the second time.
struct RankDifference {
  int rank = 0;
  std::string host;
  std::string what;  // "the gradient of layers.0.mlp.up_proj.lora_A"
};

// The first thing that differs on this rank between two computations; "" when nothing does. What a
// rank has computed by itself comes before what it was sent. `updated`: which parameters the sums
// are of.
std::string first_difference(const StepEvidence& a, const StepEvidence& b,
                             const std::vector<Parameter>& parameters,
                             const std::vector<size_t>& updated);

// The ranks with a difference, equal on every rank. `mine`: of this rank. When ranks differ in what
// they have computed by themselves, those that were only sent something else are left out.
// Collective over all: two all-gathers of a line of text.
std::vector<RankDifference> differences_of_all(Communicator& all, const std::string& mine);

// "rank 1 (host b) had other bits in the gradient of layers.0.mlp.up_proj.lora_A: a fault of that
// machine"; of several, "ranks 0, 1 (hosts a, b) had other bits, the first in ...".
std::string differences_text(const std::vector<RankDifference>& differences);

// What became of a step that looked wrong; equal on every rank but for `traffic`.
struct StepCheck {
  double loss = 0.0;  // of the first computation
  double grad_norm = 0.0;
  std::optional<double> median_norm;  // of the steps before
  int num_computations = 2;
  std::vector<int> ranks;  // that had other bits; none: the step is the model's own
  Traffic traffic;         // that this rank has sent for it
};

}  // namespace molora
