#include "checkpoint/expert_surgery.h"

#include <algorithm>
#include <array>
#include <map>
#include <string_view>
#include <utility>

#include <ATen/core/grad_mode.h>
#include <fmt/format.h>

#include "base/check.h"
#include "base/error.h"
#include "checkpoint/rerank.h"
#include "device/compute_device.h"
#include "tensor/tensor_bytes.h"

namespace molora {

namespace {

enum class Part { kA, kB, kRouterWeight, kRouterBias };
enum class Kind { kValue, kFirstMoment, kSecondMoment };

// A whole tensor of the run. Rows of [E, r] that are marked keep what the run's slice holds.
struct NewTensor {
  Tensor whole;
  Tensor kept_Er = {};  // bool; undefined: none
};

// "adamw.first/layers.0.mlp.gate_proj.lora_A" taken apart.
struct SliceName {
  Kind kind = Kind::kValue;
  std::string path;  // "layers.0.mlp.gate_proj"
  Part part = Part::kA;
};

SliceName parse(const std::string& name) {
  constexpr std::array<std::pair<const char*, Kind>, 3> kKinds = {
      {{"adapter/", Kind::kValue},
       {"adamw.first/", Kind::kFirstMoment},
       {"adamw.second/", Kind::kSecondMoment}}};
  constexpr std::array<std::pair<const char*, Part>, 4> kParts = {
      {{".lora_A", Part::kA},
       {".lora_B", Part::kB},
       {".router.weight", Part::kRouterWeight},
       {".router.bias", Part::kRouterBias}}};
  for (const auto& [prefix, kind] : kKinds) {
    for (const auto& [suffix, part] : kParts) {
      if (!name.starts_with(prefix) || !name.ends_with(suffix)) continue;
      const size_t begin = std::string_view(prefix).size();
      return {kind, name.substr(begin, name.size() - begin - std::string_view(suffix).size()),
              part};
    }
  }
  MOLORA_CHECK(false, "{} is no tensor of an adapter", name);
  return {};
}

// The run's tensors of one linear.
struct Linear {
  std::string path;
  std::vector<std::pair<SliceName, const TensorSlice*>> slices;
};

std::vector<Linear> linears_of(const TrainingState& state) {
  std::vector<Linear> linears;
  std::map<std::string, size_t> index;
  for (const auto* slices : {&state.adapter, &state.optimizer}) {
    for (const TensorSlice& slice : *slices) {
      const SliceName name = parse(slice.name);
      const auto [found, is_new] = index.try_emplace(name.path, linears.size());
      if (is_new) linears.push_back({name.path, {}});
      linears[found->second].slices.emplace_back(name, &slice);
    }
  }
  return linears;
}

// This rank's part of a whole tensor.
Tensor cut(const Tensor& whole, const TensorSlice& slice) {
  Tensor part = whole;
  for (int64_t dim = 0; dim < whole.dim() && dim < std::ssize(slice.offset); ++dim) {
    const int64_t begin = slice.offset[static_cast<size_t>(dim)];
    part = part.slice(dim, begin, begin + slice.value.size(dim));
  }
  return part;
}

class Surgeon {
 public:
  Surgeon(const SurgeryPlan& plan, const ReadWholeTensor& stored) : plan_(plan), stored_(stored) {}

  void operate_on(const Linear& linear) {
    is_mixture_ = target_kind(plan_.targets, linear.path) == TargetsConfig::experts;
    type_ = linear.slices.front().second->type;
    if (is_mixture_) check_dropped(linear);
    reranked_ = {};
    if (plan_.wanted.lora_rank < plan_.stored.lora_rank) rerank_pairs(linear);
    for (const auto& [name, slice] : linear.slices) {
      if (slice->value.defined()) stage(*slice, new_tensor(name, *slice));
    }
  }

  // Throws: ConfigError when a pair loses what it may not.
  std::vector<std::string> finish() {
    std::vector<std::string> report;
    if (num_pairs_ > 0) report.push_back(rerank_report());
    for (auto& [value, with] : staged_) value.copy_(with);
    return report;
  }

 private:
  struct RerankedTensors {
    NewTensor lora_A;
    NewTensor lora_B;
  };

  int64_t stored_experts() const { return is_mixture_ ? plan_.stored.num_experts : 1; }
  std::vector<int64_t> origins() const {
    return is_mixture_ ? plan_.origins : std::vector<int64_t>{0};
  }

  // `columns`: of the last dimension.
  Shape stored_shape(Part part, int64_t columns) const {
    if (part == Part::kRouterBias) return {stored_experts()};
    if (part == Part::kRouterWeight) return {stored_experts(), columns};
    return {stored_experts(), plan_.stored.lora_rank, columns};
  }

  // Checked against the checkpoint's configuration. `columns` -1: any.
  Tensor read(const std::string& name, Part part, int64_t columns) const {
    Tensor tensor = stored_(name);
    if (columns < 0 && tensor.dim() > 0) columns = tensor.size(-1);
    const Shape expected = stored_shape(part, columns);
    if (tensor.sizes() != at::IntArrayRef(expected) || tensor.scalar_type() != type_) {
      throw CheckpointError(fmt::format(
          "tensor {}: expected {} {} by the checkpoint's configuration and this run's, got {} {}",
          name, dtype_name(stored_dtype(type_)), shape_text(expected),
          dtype_name(stored_dtype(tensor.scalar_type())), shape_text(tensor.sizes().vec())));
    }
    return tensor;
  }

  // Whether the dropped experts are as they were added: out of every token's choice.
  void check_dropped(const Linear& linear) const {
    if (plan_.dropped.empty() || plan_.may_change_forward) return;
    const std::string name = "adapter/" + linear.path;
    const Tensor weight = read(name + ".router.weight", Part::kRouterWeight, -1);
    const Tensor bias = read(name + ".router.bias", Part::kRouterBias, 0);
    for (const int64_t expert : plan_.dropped) {
      const auto of_expert = bias[expert].item<double>();
      const bool is_blind = weight[expert].eq(0).all().item<bool>();
      if (of_expert <= kUnchosenBias && is_blind) continue;
      throw ConfigError(fmt::format(
          "checkpoint.surgery.drop_experts: tokens may take expert {} of the checkpoint ({}: "
          "expected a router bias of at most {} and router weights 0, got {} and {}), so that "
          "without it the adapter is another function; to allow that set "
          "checkpoint.surgery.may_change_forward: true",
          expert, linear.path, kUnchosenBias, of_expert, is_blind ? "0" : "others"));
    }
  }

  NewTensor new_tensor(const SliceName& name, const TensorSlice& slice) const {
    Shape shape = slice.global_shape;
    const bool is_pair = name.part == Part::kA || name.part == Part::kB;
    MOLORA_CHECK(
        shape.front() == std::ssize(origins()) && (!is_pair || shape[1] == plan_.wanted.lora_rank),
        "{}: {} is not what the plan makes", slice.name, shape_text(shape));
    if (is_pair && reranked_.lora_A.whole.defined()) {
      if (name.kind != Kind::kValue) return {at::zeros(shape, slice.type)};
      return name.part == Part::kA ? reranked_.lora_A : reranked_.lora_B;
    }
    const Tensor stored = read(slice.name, name.part, shape.back());
    const bool is_bias = name.part == Part::kRouterBias && name.kind == Kind::kValue;
    NewTensor result{at::full(shape, is_bias ? plan_.added_expert_bias : 0.0, slice.type)};
    const std::vector<int64_t> from = origins();
    for (size_t expert = 0; expert < from.size(); ++expert) {
      if (from[expert] == SurgeryPlan::kAdded) continue;
      Tensor to = result.whole[static_cast<int64_t>(expert)];
      if (is_pair) to = to.slice(0, 0, plan_.stored.lora_rank);
      to.copy_(stored[from[expert]]);
    }
    if (name.part == Part::kB) scale_B(result.whole, name.kind);
    if (name.part == Part::kA && name.kind == Kind::kValue) {
      result.kept_Er = rows_beyond(plan_.stored.lora_rank);
    }
    return result;
  }

  void scale_B(Tensor& lora_B, Kind kind) const {
    const double factor = plan_.factor_of_B();
    if (kind == Kind::kValue) lora_B.mul_(factor);
    if (kind == Kind::kFirstMoment) lora_B.mul_(1.0 / factor);
    if (kind == Kind::kSecondMoment) lora_B.mul_(1.0 / (factor * factor));
  }

  // Marks all rows of added experts and the rows from `begin` on of the others.
  Tensor rows_beyond(int64_t begin) const {
    const std::vector<int64_t> from = origins();
    Tensor marked = at::zeros({std::ssize(from), plan_.wanted.lora_rank}, at::kBool);
    marked.slice(1, begin).fill_(true);
    for (size_t expert = 0; expert < from.size(); ++expert) {
      if (from[expert] == SurgeryPlan::kAdded) marked[static_cast<int64_t>(expert)].fill_(true);
    }
    return marked;
  }

  void rerank_pairs(const Linear& linear) {
    const std::string name = "adapter/" + linear.path;
    const Tensor lora_A = read(name + ".lora_A", Part::kA, -1);
    const Tensor lora_B = read(name + ".lora_B", Part::kB, -1);
    if (!lora_A.isfinite().all().item<bool>() || !lora_B.isfinite().all().item<bool>()) {
      throw CheckpointError(
          fmt::format("tensors {0}.lora_A and {0}.lora_B: expected finite numbers", name));
    }
    const std::vector<int64_t> from = origins();
    const int64_t lora_rank = plan_.wanted.lora_rank;
    const auto empty = [&](const Tensor& like) {
      return NewTensor{at::zeros({std::ssize(from), lora_rank, like.size(2)}, type_)};
    };
    reranked_ = {empty(lora_A), empty(lora_B)};
    reranked_.lora_A.kept_Er = rows_beyond(lora_rank);
    for (int64_t expert = 0; expert < std::ssize(from); ++expert) {
      const int64_t origin = from[static_cast<size_t>(expert)];
      if (origin == SurgeryPlan::kAdded) continue;
      const RerankedPair pair =
          rerank(lora_A[origin], lora_B[origin], plan_.factor_of_B(), lora_rank);
      reranked_.lora_A.whole[expert].copy_(pair.lora_A);
      reranked_.lora_B.whole[expert].copy_(pair.lora_B);
      // A direction that is 0 in both factors would never learn.
      reranked_.lora_A.kept_Er[expert].slice(0, pair.num_used).fill_(true);
      record_loss(pair, is_mixture_
                            ? fmt::format("{}, expert {} of the checkpoint", linear.path, origin)
                            : linear.path);
    }
  }

  void record_loss(const RerankedPair& pair, const std::string& where) {
    ++num_pairs_;
    ranks_needed_ = std::max(ranks_needed_, pair.ranks_needed);
    if (pair.ranks_needed > plan_.wanted.lora_rank) ++num_losing_;
    if (pair.lost_share <= largest_loss_) return;
    largest_loss_ = pair.lost_share;
    where_ = where;
  }

  std::string rerank_report() const {
    const std::string what =
        fmt::format("lora_rank {} -> {}", plan_.stored.lora_rank, plan_.wanted.lora_rank);
    if (num_losing_ == 0) return what + ": no pair uses more, so that nothing is lost";
    if (plan_.may_change_forward) {
      return fmt::format("{}: largest lost share of a pair's norm {:.2g} at {}", what,
                         largest_loss_, where_);
    }
    throw ConfigError(fmt::format(
        "adapter.lora_rank: {} of {} pairs of the checkpoint use more than {}; cut down, the worst "
        "would lose {:.2g} of its norm ({}): set it to at least {}, or to allow the loss set "
        "checkpoint.surgery.may_change_forward: true",
        num_losing_, num_pairs_, plan_.wanted.lora_rank, largest_loss_, where_, ranks_needed_));
  }

  void stage(const TensorSlice& slice, const NewTensor& made) {
    Tensor part = cut(made.whole, slice);
    if (made.kept_Er.defined()) {
      part = at::where(cut(made.kept_Er, slice).unsqueeze(-1), to_host(slice.value), part);
    }
    staged_.emplace_back(slice.value, part.clone());
  }

  const SurgeryPlan& plan_;
  const ReadWholeTensor& stored_;
  // Of the linear at hand.
  bool is_mixture_ = false;
  at::ScalarType type_ = at::kFloat;
  RerankedTensors reranked_;
  // Of all.
  std::vector<std::pair<Tensor, Tensor>> staged_;  // a slice of the run and its new values
  int64_t num_pairs_ = 0;                          // that were reranked
  int64_t num_losing_ = 0;
  int64_t ranks_needed_ = 0;
  double largest_loss_ = 0.0;
  std::string where_;
};

}  // namespace

std::vector<std::string> load_with_surgery(const SurgeryPlan& plan, const ReadWholeTensor& stored,
                                           TrainingState& state) {
  const at::NoGradGuard no_grad;
  Surgeon surgeon(plan, stored);
  for (const Linear& linear : linears_of(state)) surgeon.operate_on(linear);
  return surgeon.finish();
}

}  // namespace molora
