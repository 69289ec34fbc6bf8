// Losses of the routers themselves: their values, and the gradient that they send into the logits.
//
//   balance    E * sum_e f_e P_e with P_e the mean of the full softmax p (Fedus et al. 2021,
//              arXiv 2101.03961) and f_e the share of all choices that went to e. Where a token
//              chooses any number of experts f_e is the share of tokens that chose e, and with the
//              gate threshold P_e the mean of p_e - t (AdaMoLE, arXiv 2405.00361).
//   z          mean of logsumexp(z)^2 (Zoph et al. 2022, arXiv 2202.08906)
//   entropy    mean of H(p)
//   localized  var(I) / mean(I)^2 over all samples s of the step and experts e, with I_se the sum
//              of p_e over the sample's tokens, times 1 + delta where the sample's task prefers the
//              half of the experts that e is in, else 1 - delta (LoRAMoE, Dou et al. 2023,
//              arXiv 2312.09979; var is of a sample, as in the authors' code, where the paper has
//              var over mean). The first half has E / 2 experts, rounded down.
// over the tokens of the whole step on all ranks. They become one by RouterConfig.AcrossRouters:
//   mean, sum  of the routers' losses
//   concat     the tokens of all routers count as those of one: f and P are means over the routers,
//              I is summed over them (for z and entropy that is the mean)
//
//   T tokens on this rank, R routers, S samples of the step, E routed experts, Z logits
#pragma once

#include <vector>

#include <ATen/ATen.h>

#include "model/adapter.h"
#include "run_config.pb.h"

namespace molora {

using at::Tensor;

struct RouterStatistics;

// The gradient that the losses send into the logits of each router. What they need to know of the
// whole step is filled in before the backward pass, from sums over all ranks: it is not
// differentiated.
struct AuxiliaryGradient {
  double balance_coef = 0.0;
  double z_coef = 0.0;
  double entropy_coef = 0.0;
  // Multiplies these three: what the caller divides all gradients by afterwards (supervised
  // tokens), over the tokens and, but for the rule sum, the routers that the means run over.
  double scale = 0.0;
  Tensor share_RE;  // f: [routers, experts], fp64
  // Of the localized loss, ready to be used: its derivative by p of a sample's tokens, [routers,
  // samples, experts] fp64; undefined without it. And the samples' numbers, ascending.
  Tensor slope_RSE = {};
  Tensor sample_numbers_S = {};

  bool is_active() const {
    return balance_coef != 0.0 || z_coef != 0.0 || entropy_coef != 0.0 || slope_RSE.defined();
  }
};

// The logits themselves, with these gradients added on the way back. samples_T: the sample of each
// token; asked for by the localized loss alone. Adapter and auxiliary outlive the backward pass.
Tensor with_auxiliary_gradient(const Tensor& logits_TZ, const Tensor& samples_T,
                               const LinearAdapter& adapter, const AuxiliaryGradient& auxiliary);

// f of the balance loss, from counts of the whole step: [routers, experts] fp64, as `across` takes
// them. counts_RE: as RouterStatistics has them.
Tensor expert_shares(const Tensor& counts_RE, int64_t num_tokens, const AdapterSet& adapters,
                     RouterConfig::AcrossRouters across);

struct AuxiliaryLosses {
  double balance = 0.0;
  double z = 0.0;
  double entropy = 0.0;  // 0 where its statistics were not asked for
};
// The values of these losses for statistics of the whole step, on the CPU.
AuxiliaryLosses auxiliary_losses(const RouterStatistics& statistics, const AdapterSet& adapters,
                                 RouterConfig::AcrossRouters across = RouterConfig::mean);

struct LocalizedLoss {
  Tensor value;      // fp64, of one element
  Tensor slope_RSE;  // its derivative by p of each token of a sample
};
// importance_RSE: I without the factors 1 +- delta, of the whole step. prefers_first_S: [samples]
// bool, whether the sample's task prefers the first half of the experts.
LocalizedLoss localized_loss(const Tensor& importance_RSE, const Tensor& prefers_first_S,
                             double delta, const AdapterSet& adapters,
                             RouterConfig::AcrossRouters across);

// Which of the tasks prefer the first half of the experts. Throws: ConfigError that names the known
// tasks when a name of the configuration is none of them.
std::vector<bool> tasks_of_first_half(const LocalizedBalanceConfig& config,
                                      const std::vector<std::string>& tasks);

}  // namespace molora
