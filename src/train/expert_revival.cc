#include "train/expert_revival.h"

#include <algorithm>
#include <map>
#include <string>

#include <ATen/core/grad_mode.h>
#include <fmt/format.h>

#include "base/check.h"
#include "base/mutation.h"
#include "base/philox.h"
#include "parallel/tensor_collectives.h"
#include "tensor/philox_tensor.h"

namespace molora {

namespace {

constexpr double kDeviation = 0.01;

enum class Copy { kExact, kChanged };

class Reviver {
 public:
  Reviver(const RevivalParts& parts, uint64_t seed, int64_t step)
      : parts_(parts), seed_(seed), step_(static_cast<uint64_t>(step)) {
    for (const Parameter& parameter : parts_.adapters.parameters()) {
      parameters_[parameter.name] = &parameter;
    }
    for (size_t i = 0; i < parts_.optimizer.parameters().size(); ++i) {
      updated_here_[parts_.optimizer.parameters()[i].name] = i;
    }
  }

  void revive(const Revival& revival) {
    const std::string router = router_path(revival.router);
    for (const LinearAdapter& linear : parts_.adapters.linears()) {
      if (linear.router_path() != router) continue;  // of a whole MLP three linears have the same
      Revival of_linear = revival;
      const auto& frozen = linear.spec.frozen_experts;
      std::erase_if(of_linear.dead, [&](int64_t expert) {
        return std::find(frozen.begin(), frozen.end(), expert) != frozen.end();
      });
      if (of_linear.dead.empty()) continue;
      if (!linear.spec.has_shared_A) copy_rows(linear.path + ".lora_A", of_linear, Copy::kChanged);
      copy_rows(linear.path + ".lora_B", of_linear, Copy::kChanged);
      if (linear.router_weight.defined()) {
        copy_rows(router + ".router.weight", of_linear, Copy::kChanged);
        copy_rows(router + ".router.bias", of_linear, Copy::kExact);
      }
      if (linear.task_weight.defined()) {
        // Of all linears, whose routers have made the same choices: each time the same numbers.
        copy_rows("task_router.weight", of_linear, Copy::kChanged);
      }
      if (linear.choice_bias.defined()) {
        copy_rows(router + ".router.choice_bias", of_linear, Copy::kExact);
      }
    }
  }

 private:
  std::string router_path(int64_t router) const {
    for (const LinearAdapter& linear : parts_.adapters.linears()) {
      if (linear.router_index == router) return linear.router_path();
    }
    MOLORA_CHECK(false, "router {}", router);
    return {};
  }

  // Rows of dimension 0 are experts.
  void copy_rows(const std::string& name, const Revival& revival, Copy copy) {
    const auto found = parameters_.find(name);
    MOLORA_CHECK(found != parameters_.end(), "{}", name);
    const Parameter& parameter = *found->second;
    const Tensor value = parameter.value.detach();
    const int64_t begin = MOLORA_MUTANT(kRevivedRowsUnshifted) ? 0 : parameter.offset.front();
    const auto is_here = [&](int64_t expert) {
      return expert >= begin && expert < begin + value.size(0);
    };
    Tensor source = is_here(revival.source) ? value.select(0, revival.source - begin).clone()
                                            : at::zeros_like(value.select(0, 0));
    if (value.size(0) < parameter.global_shape.front() && !MOLORA_MUTANT(kRevivedFromThisRank)) {
      // One rank of the group holds it, the others add zeros.
      source = all_reduce_sum(parts_.mesh.axis(axis_of_experts(parameter)), source);
    }
    for (const int64_t expert : revival.dead) {
      if (!is_here(expert)) continue;
      value.select(0, expert - begin)
          .copy_(copy == Copy::kExact ? source : source + source * change(parameter, expert));
      forget_moments(name, expert - begin);
    }
  }

  // The ranks between whom the experts of a tensor are shared out.
  static Axis axis_of_experts(const Parameter& parameter) {
    return parameter.sync == SyncGroup::kExpertData ? Axis::kExpert : Axis::kTensor;
  }

  // This rank's slice of the expert's numbers.
  Tensor change(const Parameter& parameter, int64_t expert) const {
    const std::vector<int64_t> shape(parameter.global_shape.begin() + 1,
                                     parameter.global_shape.end());
    Tensor whole =
        at::empty(shape, parameter.value.options().device(at::kCPU).requires_grad(false));
    fill_normal(whole, kDeviation,
                philox_key(seed_, RandomPurpose::kRevival,
                           fmt::format("{}#{}", parameter.name, expert), step_),
                0);
    return whole
        .slice(-1, parameter.offset.back(), parameter.offset.back() + parameter.value.size(-1))
        .to(parameter.value.device());
  }

  void forget_moments(const std::string& name, int64_t row) {
    const auto found = updated_here_.find(name);
    if (found == updated_here_.end()) return;  // another rank updates it
    parts_.optimizer.first_moments()[found->second].select(0, row).zero_();
    parts_.optimizer.second_moments()[found->second].select(0, row).zero_();
  }

  RevivalParts parts_;
  uint64_t seed_;
  uint64_t step_;
  std::map<std::string, const Parameter*> parameters_;
  std::map<std::string, size_t> updated_here_;
};

}  // namespace

void revive_experts(const RevivalParts& parts, const std::vector<Revival>& revivals, uint64_t seed,
                    int64_t step) {
  if (revivals.empty()) return;
  const at::NoGradGuard no_grad;
  Reviver reviver(parts, seed, step);
  for (const Revival& revival : revivals) reviver.revive(revival);
}

}  // namespace molora
