#include "plan/kept_activations.h"

#include <algorithm>
#include <cmath>

namespace molora {

namespace {

constexpr double kIndexBytes = 8;   // of an int64
constexpr double kLogSumBytes = 4;  // of attention's log-sum-exp, fp32 in every precision

// The sizes of one rank that the items are made of.
struct Sizes {
  double all;    // T
  double state;  // tokens of a state between linears
  double slice;  // t
  double hidden;
  double query;  // of this rank's heads, likewise below
  double key;
  double heads;
  double key_heads;
  double mlp;
  double b;
  double w;

  explicit Sizes(const PlanInput& input) {
    const Architecture& model = input.architecture;
    const auto tp = product(input.mesh.tp);
    const double held_keys = product(model.num_kv_heads, input.mesh.kv_replicas) / tp;
    all = product(input.tokens) / input.mesh.dp;
    slice = std::ceil(all / tp);
    state = input.is_sequence_parallel ? slice : all;
    hidden = product(model.hidden_size);
    heads = product(model.num_heads) / tp;
    key_heads = held_keys;
    query = heads * product(model.head_dim);
    key = held_keys * product(model.head_dim);
    mlp = product(model.intermediate_size) / tp;
    b = product(input.activation_bytes);
    w = product(input.master_bytes);
  }
};

class LayerItems {
 public:
  LayerItems(const PlanInput& input, const ExchangeModes& modes, int64_t layer)
      : input_(input), modes_(modes), layer_(layer), of_(input) {}

  std::vector<KeptTensor> list() {
    if (input_.are_layers_recomputed()) {
      add("layer", "input", of_.state * of_.hidden * of_.b);
      return items_;
    }
    norm("input norm", of_.state, of_.hidden, LinearGroup::kQkv);
    linears("qkv", LinearGroup::kQkv);
    if (input_.architecture.has_qk_norm && goes_back(LinearGroup::kO)) head_norms();
    attention();
    linears("o", LinearGroup::kO);
    norm("post-attention norm", of_.state, of_.hidden, LinearGroup::kGateUp);
    linears("gate_up", LinearGroup::kGateUp);
    activation();
    linears("down", LinearGroup::kDown);
    return items_;
  }

 private:
  void add(const char* part, std::string what, double bytes) {
    if (bytes > 0) items_.push_back({part, std::move(what), bytes});
  }

  bool is_selective() const { return input_.recompute == TrainConfig::selective; }
  // By LibTorch's operators, in the wide type, a tensor for each of them.
  bool is_by_operators() const { return !input_.has_own_kernels; }
  bool is_narrow() const { return of_.b < of_.w; }
  // Whether the gradient goes through the input of this group.
  bool goes_back(LinearGroup group) const { return needs_input_gradient(input_, layer_, group); }

  // Before the group.
  void norm(const char* part, double rows, double width, LinearGroup group) {
    if (!goes_back(group)) return;
    norm_items(part, rows, width);
  }
  void norm_items(const char* part, double rows, double width) {
    if (is_selective()) {
      add(part, "input", rows * width * of_.b);
    } else if (is_by_operators() && is_narrow()) {
      add(part, "input in the wide type", rows * width * of_.w);
      add(part, "scales", rows * of_.w);
    } else {
      add(part, "input", rows * width * of_.b);
      add(part, "scales", rows * of_.w);
    }
  }
  void head_norms() {
    const auto head = product(input_.architecture.head_dim);
    norm_items("query and key norms", of_.all * (of_.heads + of_.key_heads), head);
  }

  void attention() {
    if (!goes_back(LinearGroup::kO)) return;
    const bool is_repeated = !input_.is_gpu && !is_selective() && of_.key < of_.query;
    const double keys = is_repeated ? of_.query : of_.key;
    add("attention", "queries", of_.all * of_.query * of_.b);
    add("attention", "keys and values", 2 * of_.all * keys * of_.b);
    if (is_selective() && !input_.is_gpu) return;
    add("attention", "result", of_.all * of_.query * of_.b);
    add("attention", "log-sum-exp", of_.all * of_.heads * kLogSumBytes);
  }

  void activation() {
    if (!goes_back(LinearGroup::kDown)) return;
    const double mlps = of_.all * of_.mlp * mlps_per_token(input_) * of_.b;
    add("activation", "gate and up", 2 * mlps);
    const bool is_in_one_pass = input_.has_own_kernels && !input_.is_gpu;  // kernels/swiglu.h
    if (!is_selective() && !is_in_one_pass) add("activation", "silu(gate)", mlps);
    if (has_block_experts(input_)) add("activation", "results of experts", mlps);
  }

  // The adapters of one group, and what they read.
  void linears(const char* part, LinearGroup group) {
    const Split split = split_of(group);
    bool is_input_kept = false;
    for (const PlannedLinear& linear : group_linears(input_, group)) {
      if (!linear.is_adapted()) continue;
      const ExchangeMode mode = linear.has_experts() ? modes_.of(group) : ExchangeMode::kReplicate;
      const bool reads_slice = mode == ExchangeMode::kTokens ||
                               (split == Split::kColumn && input_.is_sequence_parallel &&
                                mode != ExchangeMode::kRank && !linear.spec.is_of_block());
      const double rows = reads_slice ? of_.slice : of_.all;
      const double in = product(mode == ExchangeMode::kTokens ? linear.in : linear.in_held);
      if (linear.spec.dropout > 0) {
        add(part, "dropped input", rows * in * of_.b);
        if (is_by_operators() && goes_back(group)) add(part, "dropout mask", rows * in * of_.b);
      }
      if (linear.spec.is_of_block() && group == LinearGroup::kDown) {
        // It reads what the activation functions gave, under masks that are drawn again.
        bottleneck(part, linear, mode, {rows, in});
        continue;
      }
      const bool needs_input = linear.spec.dropout == 0 || linear.spec.has_router();
      if (needs_input && !is_input_kept && !is_attention_result(group)) {
        add(part, "input", rows * in * of_.b);
        is_input_kept = true;
      }
      if (linear.spec.has_router()) router(part, linear, rows);
      bottleneck(part, linear, mode, {rows, in});
    }
  }

  // The input of o is what attention keeps, when it is one sequence.
  bool is_attention_result(LinearGroup group) const {
    const double sequences = of_.all / product(std::max<int64_t>(1, input_.row_tokens));
    return group == LinearGroup::kO && !is_selective() && (input_.is_gpu || sequences <= 1);
  }

  void router(const char* part, const PlannedLinear& linear, double rows) {
    const auto experts = product(linear.spec.num_experts);
    const auto chosen = product(linear.spec.experts_per_token);
    add(part, "logits and gates", rows * (is_by_operators() ? chosen : 2 * experts) * of_.w);
  }

  struct Read {
    double rows;
    double in;
  };
  void bottleneck(const char* part, const PlannedLinear& linear, ExchangeMode mode,
                  const Read& read) {
    const AdapterSpec& spec = linear.spec;
    const auto width = product(spec.num_experts, spec.lora_rank);
    const bool is_column = split_of(group_of(linear)) == Split::kColumn;
    const double shared = mode == ExchangeMode::kRank ? width / input_.mesh.tp : width;
    const double u_width = mode == ExchangeMode::kTokens ? width / input_.mesh.ep : shared;
    const double h_width = mode == ExchangeMode::kRank && is_column ? width : u_width;
    const double h_rows = mode == ExchangeMode::kTokens ? read.rows : of_.all;
    if (spec.is_mixture()) {
      add(part, "bottleneck u", read.rows * u_width * of_.b);
      if (is_by_operators())
        add(part, "gates in the type of u", read.rows * u_width / product(spec.lora_rank) * of_.b);
    }
    add(part, "bottleneck h", h_rows * h_width * of_.b);
    if (is_narrow()) {
      const double out = product(mode == ExchangeMode::kTokens ? linear.out : linear.out_held);
      add(part, "A and B in the narrow type", (read.in * u_width + h_width * out) * of_.b);
    }
  }

  static LinearGroup group_of(const PlannedLinear& linear) { return linear_group(linear.kind); }

  const PlanInput& input_;
  const ExchangeModes& modes_;
  int64_t layer_;
  Sizes of_;
  std::vector<KeptTensor> items_;
};

// Adds to an item of the same name.
void merge(std::vector<KeptTensor>& into, const KeptTensor& item, double times) {
  const auto same = std::find_if(into.begin(), into.end(), [&](const KeptTensor& other) {
    return other.part == item.part && other.what == item.what;
  });
  if (same == into.end()) {
    into.push_back({item.part, item.what, item.bytes * times});
  } else {
    same->bytes += item.bytes * times;
  }
}

}  // namespace

std::vector<KeptTensor> kept_of_layer(const PlanInput& input, const ExchangeModes& modes,
                                      int64_t layer) {
  return LayerItems(input, modes, layer).list();
}

std::vector<KeptTensor> kept_activations(const PlanInput& input, const ExchangeModes& modes) {
  std::vector<KeptTensor> kept;
  const int64_t layers = input.architecture.num_layers;
  for (const KeptTensor& item : kept_of_layer(input, modes, 0)) merge(kept, item, 1);
  if (layers > 1) {
    const auto others = product(layers - 1);
    for (const KeptTensor& item : kept_of_layer(input, modes, 1)) merge(kept, item, others);
  }
  const Sizes of(input);
  const bool is_wide = !input.is_gpu && of.b < of.w && input.recompute != TrainConfig::selective;
  kept.push_back({"final norm", "input", of.state * of.hidden * (is_wide ? of.w : of.b)});
  kept.push_back({"final norm", "result", of.state * of.hidden * of.b});
  kept.push_back({"head", "states", product(input.supervised) / input.mesh.dp * of.hidden * of.b});
  kept.push_back({"routers", "choices of the step", choices_of_step(input)});
  std::erase_if(kept, [](const KeptTensor& item) { return item.bytes == 0; });
  return kept;
}

double choices_of_step(const PlanInput& input) {
  const Sizes of(input);
  double slots = 0;
  for (const LinearGroup group : kLinearGroups) {
    for (const PlannedLinear& linear : group_linears(input, group)) {
      if (linear.spec.has_router()) slots += product(linear.spec.experts_per_token);
    }
  }
  return of.all * slots * product(input.architecture.num_layers, input.micro_steps) * kIndexBytes;
}

double sum_of(const std::vector<KeptTensor>& kept) {
  double sum = 0;
  for (const KeptTensor& item : kept) sum += item.bytes;
  return sum;
}

}  // namespace molora
