#include "profile/work_class.h"

#include <algorithm>
#include <optional>
#include <string_view>
#include <unordered_map>

namespace molora {

namespace {

struct ClassNames {
  const char* name;
  const char* key;
};

constexpr std::array<ClassNames, kNumWorkClasses> kNames = {{
    {"base, forward", "base_forward"},
    {"base, input gradients", "base_gradient"},
    {"adapters, forward", "adapter_forward"},
    {"adapters, gradients", "adapter_gradient"},
    {"routing", "routing"},
    {"attention", "attention"},
    {"norms, elementwise, copies", "elementwise"},
    {"head and loss", "head"},
    {"optimizer, gradient norms", "optimizer"},
    {"collectives", "collective"},
    {"data", "data"},
    {"other", "other"},
    {"between operators", "between"},
}};

// The first that a name contains decides.
struct Rule {
  std::string_view part;
  WorkClass work;
};

// Functions of ours ("molora::...") and their autograd nodes. What they do backward has "backward"
// or "gradient" in its name.
constexpr Rule kMarked[] = {
    {"step.batch", WorkClass::kData},
    {"step.rows", WorkClass::kData},
    {"step.forward", WorkClass::kBetween},
    {"step.backward", WorkClass::kBetween},
    {"step.loss", WorkClass::kHead},
    {"step.", WorkClass::kOptimizer},
    {"frozen_product", WorkClass::kBaseForward},
    {"add_input_gradient", WorkClass::kBaseGradient},
    {"InputProducts", WorkClass::kBaseForward},
    {"dequant", WorkClass::kBaseForward},
    {"loss", WorkClass::kHead},
    {"KnownGradient", WorkClass::kHead},
    {"head", WorkClass::kHead},
    {"logit", WorkClass::kHead},
    {"adamw", WorkClass::kOptimizer},
    {"optimizer", WorkClass::kOptimizer},
    {"clip", WorkClass::kOptimizer},
    {"square_norm", WorkClass::kOptimizer},
    {"attend", WorkClass::kAttention},
    {"attention", WorkClass::kAttention},
    {"route", WorkClass::kRouting},
    {"routing", WorkClass::kRouting},
    {"choose_experts", WorkClass::kRouting},
    {"gate_weights", WorkClass::kRouting},
    {"GateWeights", WorkClass::kRouting},
    {"AuxiliaryGradient", WorkClass::kRouting},
    {"trained_product", WorkClass::kAdapterForward},
    {"project_down", WorkClass::kAdapterForward},
    {"add_up", WorkClass::kAdapterForward},
    {"bottleneck", WorkClass::kAdapterForward},
    {"gate_and_scale", WorkClass::kAdapterForward},
    {"gates", WorkClass::kAdapterForward},
    {"pairs", WorkClass::kAdapterForward},
    {"FusedGates", WorkClass::kAdapterForward},
    {"expert", WorkClass::kAdapterForward},
    {"dropout", WorkClass::kAdapterForward},
    {"Dropout", WorkClass::kAdapterForward},
    {"norm", WorkClass::kElementwise},
    {"Norm", WorkClass::kElementwise},
    {"rotary", WorkClass::kElementwise},
    {"Rotary", WorkClass::kElementwise},
    {"silu", WorkClass::kElementwise},
    {"Silu", WorkClass::kElementwise},
    {"swiglu", WorkClass::kElementwise},
    {"Swiglu", WorkClass::kElementwise},
    {"embed", WorkClass::kElementwise},
    {"cast", WorkClass::kElementwise},
    {"copy", WorkClass::kElementwise},
    {"add", WorkClass::kElementwise},
    {"mul", WorkClass::kElementwise},
};

// LibTorch's operators, forward or, as nodes, backward.
constexpr Rule kOperators[] = {
    {"scaled_dot_product", WorkClass::kAttention},
    {"ScaledDotProduct", WorkClass::kAttention},
    {"flash_attention", WorkClass::kAttention},
    {"FlashAttention", WorkClass::kAttention},
    {"topk", WorkClass::kRouting},
    {"Topk", WorkClass::kRouting},
    {"softmax", WorkClass::kRouting},
    {"Softmax", WorkClass::kRouting},
    {"scatter", WorkClass::kRouting},
    {"Scatter", WorkClass::kRouting},
    {"logsumexp", WorkClass::kRouting},
    {"bincount", WorkClass::kRouting},
    {"masked_fill", WorkClass::kRouting},
    {"AccumulateGrad", WorkClass::kAdapterGradient},
};

constexpr Rule kPlaces[] = {
    {"gradient sums", WorkClass::kOptimizer},
    {"step statistics", WorkClass::kOptimizer},
    {"norms", WorkClass::kOptimizer},
    {"updates", WorkClass::kOptimizer},
    {"head", WorkClass::kHead},
    {"logits", WorkClass::kHead},
    {"loss", WorkClass::kHead},
};

bool contains(std::string_view text, std::string_view part) {
  return text.find(part) != std::string_view::npos;
}

template <size_t kCount>
std::optional<WorkClass> by_rule(const Rule (&rules)[kCount], std::string_view name) {
  const auto* found = std::find_if(std::begin(rules), std::end(rules),
                                   [&](const Rule& rule) { return contains(name, rule.part); });
  return found == std::end(rules) ? std::nullopt : std::optional(found->work);
}

WorkClass backward_of(WorkClass forward) {
  switch (forward) {
    case WorkClass::kBaseForward:
      return WorkClass::kBaseGradient;
    case WorkClass::kAdapterForward:
      return WorkClass::kAdapterGradient;
    default:
      return forward;
  }
}

bool is_matrix_product(std::string_view name) {
  return name == "aten::linear" || name == "aten::mm" || name == "aten::addmm" ||
         name == "aten::addmm_" || name == "aten::matmul" || name == "aten::mkldnn_linear";
}

std::optional<WorkClass> marked_class(std::string_view name) {
  if (!contains(name, "molora::")) return std::nullopt;
  const WorkClass work = by_rule(kMarked, name).value_or(WorkClass::kOther);
  const bool is_backward = contains(name, "backward") && !contains(name, "step.");
  return is_backward ? backward_of(work) : work;
}

class Classifier {
 public:
  explicit Classifier(const WorkTrack& track) : track_(track) {}

  std::vector<WorkClass> run() {
    classes_.reserve(track_.spans.size());
    for (size_t i = 0; i < track_.spans.size(); ++i) {
      const Span& span = track_.spans[i];
      const WorkClass work = class_of(is_engine(i) ? track_.spans[i + 1] : span);
      classes_.push_back(work);
      // The last operator that saw this number is the one whose node has it.
      if (span.kind == SpanKind::kOperator && span.sequence_nr >= 0) {
        forward_[span.sequence_nr] = work;
      }
    }
    return std::move(classes_);
  }

 private:
  // The autograd engine at work for one node, which is the next span: of the node's class.
  bool is_engine(size_t index) const {
    const std::vector<Span>& spans = track_.spans;
    return contains(spans[index].name, "evaluate_function") && index + 1 < spans.size() &&
           spans[index + 1].kind == SpanKind::kBackwardNode &&
           spans[index + 1].parent == static_cast<int32_t>(index);
  }

  WorkClass class_of(const Span& span) const {
    if (span.kind == SpanKind::kCollective) return WorkClass::kCollective;
    const std::optional<WorkClass> above = class_above(span);
    // What these are made of is theirs, whatever it is called.
    if (above == WorkClass::kHead || above == WorkClass::kOptimizer || above == WorkClass::kData) {
      return *above;
    }
    if (span.kind == SpanKind::kPlace) {
      const auto own = by_rule(kPlaces, span.name);
      return own ? *own : above.value_or(WorkClass::kBetween);
    }
    const auto marked = marked_class(span.name);
    if (span.kind == SpanKind::kBackwardNode) {
      if (marked && *marked != WorkClass::kOther) return backward_of(*marked);
      if (const auto node = class_of_node(span)) return *node;
    }
    if (marked) return *marked;
    if (above) return *above;
    return class_of_operator(span);
  }

  // Of the span that this one lies in; none where that says nothing about what lies in it.
  std::optional<WorkClass> class_above(const Span& span) const {
    const auto parent = static_cast<size_t>(span.parent);
    if (span.parent == Span::kNoParent || parent >= classes_.size()) return std::nullopt;
    const WorkClass above = classes_[parent];
    return above == WorkClass::kBetween ? std::nullopt : std::optional(above);
  }

  std::optional<WorkClass> class_of_node(const Span& span) const {
    if (contains(span.name, "AccumulateGrad")) return WorkClass::kAdapterGradient;
    const auto found = forward_.find(span.sequence_nr);
    if (span.sequence_nr < 0 || found == forward_.end()) return std::nullopt;
    return found->second == WorkClass::kBetween ? std::nullopt
                                                : std::optional(backward_of(found->second));
  }

  static WorkClass class_of_operator(const Span& span) {
    if (const auto known = by_rule(kOperators, span.name)) return *known;
    if (is_matrix_product(span.name)) {
      return span.has_trained_factor ? WorkClass::kAdapterForward : WorkClass::kBaseForward;
    }
    return WorkClass::kElementwise;
  }

  const WorkTrack& track_;
  std::vector<WorkClass> classes_;
  std::unordered_map<int64_t, WorkClass> forward_;  // by sequence number
};

}  // namespace

const char* work_class_name(WorkClass work) { return kNames.at(static_cast<size_t>(work)).name; }

const char* work_class_key(WorkClass work) { return kNames.at(static_cast<size_t>(work)).key; }

std::vector<WorkClass> classes_of(const WorkTrack& track) { return Classifier(track).run(); }

}  // namespace molora
