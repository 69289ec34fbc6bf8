#include "kernels/causal_attention.h"

#include <algorithm>
#include <cmath>
#include <functional>

#include <ATen/Parallel.h>
#include <ATen/core/grad_mode.h>
#include <ATen/record_function.h>
#include <torch/csrc/autograd/custom_function.h>

#include "base/check.h"
#include "kernels/host/run_loop.h"
#include "kernels/kernel_choice.h"
#include "kernels/paired_attention.h"
#include "kernels/share_tasks.h"
#include "kernels/start_kernel.h"

namespace molora {

namespace {

using torch::autograd::AutogradContext;
using torch::autograd::variable_list;

// Scores of a block: few enough for a cache, enough rows for a matrix product.
constexpr int64_t kScoresOfBlock = int64_t{512} * 1024;
constexpr int64_t kMostQueries = 128;
constexpr int64_t kFewestQueries = 16;

// What all heads of all sequences have in common.
struct AttentionShape {
  int64_t num_heads;
  int64_t num_key_heads;
  int64_t window;
  double scale;

  int64_t copies() const { return num_heads / num_key_heads; }
};

// One sequence and the heads that share one head of keys: S queries and keys, c heads.
struct HeadGroup {
  int64_t begin;  // of the sequence
  int64_t end;
  int64_t key_head;

  Tensor queries(const Tensor& x_THA, const AttentionShape& shape) const {  // [S, c, A]
    return x_THA.slice(0, begin, end)
        .slice(1, key_head * shape.copies(), (key_head + 1) * shape.copies());
  }
  Tensor keys(const Tensor& x_TGA) const {  // [S, A]
    return x_TGA.slice(0, begin, end).select(1, key_head);
  }
};

// Queries first ... last-1 of a sequence and the keys that they can see.
struct QueryBlock {
  int64_t first;
  int64_t last;
  int64_t first_key;
  AttentionBlock of_loop;

  int64_t num_rows() const { return (last - first) * of_loop.copies; }
  Tensor rows(const Tensor& x_ScA) const {  // [rows, A], a copy
    return x_ScA.slice(0, first, last).reshape({num_rows(), x_ScA.size(2)});
  }
  Tensor keys(const Tensor& x_SA) const { return x_SA.slice(0, first_key, last); }
};

std::vector<QueryBlock> query_blocks(int64_t length, const AttentionShape& shape) {
  std::vector<QueryBlock> blocks;
  for (int64_t first = 0; first < length;) {
    const int64_t first_key = shape.window > 0 ? std::max<int64_t>(0, first - shape.window + 1) : 0;
    const int64_t by_size = kScoresOfBlock / (shape.copies() * (first - first_key + kMostQueries));
    const int64_t last =
        std::min(length, first + std::clamp(by_size, kFewestQueries, kMostQueries));
    blocks.push_back({first,
                      last,
                      first_key,
                      {last - first_key, first - first_key, shape.copies(), shape.window}});
    first = last;
  }
  return blocks;
}

// Memory for the matrices of one block after the other.
class BlockBuffer {
 public:
  explicit BlockBuffer(at::TensorOptions options) : memory_(at::empty({0}, options)) {}
  Tensor matrix(int64_t rows, int64_t columns) {
    if (memory_.numel() < rows * columns) memory_ = at::empty({rows * columns}, memory_.options());
    return memory_.slice(0, 0, rows * columns).view({rows, columns});
  }

 private:
  Tensor memory_;
};

// Runs the work of each group: side by side when there are enough of them for the threads, which
// then compute products alone; else one after the other, each product by all threads.
void for_groups(const std::vector<int64_t>& starts, const AttentionShape& shape,
                const std::function<void(const HeadGroup&)>& work) {
  std::vector<HeadGroup> groups;
  for (size_t s = 0; s + 1 < starts.size(); ++s) {
    for (int64_t g = 0; g < shape.num_key_heads && starts[s] < starts[s + 1]; ++g) {
      groups.push_back({starts[s], starts[s + 1], g});
    }
  }
  const auto run = [&](int64_t i) { work(groups[static_cast<size_t>(i)]); };
  if (std::ssize(groups) >= at::get_num_threads()) return share_tasks(std::ssize(groups), run);
  const at::NoGradGuard no_grad;
  for (int64_t i = 0; i < std::ssize(groups); ++i) run(i);
}

// [tokens, heads, 2] of SoftmaxRow; the first of a group.
template <typename Wide>
SoftmaxRow<Wide>* softmax_rows_of(const Tensor& rows_TH2, const HeadGroup& group,
                                  const QueryBlock& block, const AttentionShape& shape) {
  static_assert(sizeof(SoftmaxRow<Wide>) == 2 * sizeof(Wide));
  auto* all = static_cast<SoftmaxRow<Wide>*>(rows_TH2.data_ptr());
  return all + (group.begin + block.first) * shape.num_heads + group.key_head * shape.copies();
}

template <typename Number>
void attend_group(const HeadGroup& group, const AttentionShape& shape,
                  const std::vector<Tensor>& qkv, const Tensor& out_THA, const Tensor& rows_TH2) {
  const Tensor q_ScA = group.queries(qkv[0], shape);
  const Tensor k_AS = group.keys(qkv[1]).to(wide_type(qkv[1])).t();
  const Tensor v_SA = group.keys(qkv[2]);
  const Tensor out_ScA = group.queries(out_THA, shape);
  BlockBuffer scores(rows_TH2.options());
  BlockBuffer weights(v_SA.options());
  for (const QueryBlock& block : query_blocks(q_ScA.size(0), shape)) {
    Tensor scores_RK = scores.matrix(block.num_rows(), block.of_loop.num_keys);
    at::mm_out(scores_RK, block.rows(q_ScA).to(k_AS.scalar_type()),
               k_AS.slice(1, block.first_key, block.last));
    Tensor weights_RK = scores_RK;
    if constexpr (!std::is_same_v<Number, Wide<Number>>) {
      weights_RK = weights.matrix(block.num_rows(), block.of_loop.num_keys);
    }
    run_loop(CausalSoftmaxLoop<Number>{kernel_data<Wide<Number>>(scores_RK),
                                       kernel_data<Number>(weights_RK),
                                       softmax_rows_of<Wide<Number>>(rows_TH2, group, block, shape),
                                       shape.num_heads, block.of_loop,
                                       static_cast<Wide<Number>>(shape.scale)},
             block.num_rows(), block.of_loop.num_keys);
    out_ScA.slice(0, block.first, block.last)
        .copy_(at::mm(weights_RK, block.keys(v_SA)).view({-1, shape.copies(), v_SA.size(1)}));
  }
}

template <typename Number>
void attend_group_backward(const HeadGroup& group, const AttentionShape& shape,
                           const std::vector<Tensor>& saved, const Tensor& d_out_THA,
                           const std::vector<Tensor>& d_qkv) {
  const at::ScalarType wide = wide_type(d_out_THA);
  const Tensor q_ScA = group.queries(saved[0], shape);
  const Tensor k_SA = group.keys(saved[1]);
  const Tensor wide_k_AS = k_SA.to(wide).t();
  const Tensor wide_v_AS = group.keys(saved[2]).to(wide).t();
  const Tensor& rows_TH2 = saved[3];
  const Tensor d_out_ScA = group.queries(d_out_THA, shape);
  const Tensor d_q_ScA = group.queries(d_qkv[0], shape);
  // Blocks add up in at least fp32, in their order.
  const Tensor d_k_SA = at::zeros(k_SA.sizes(), rows_TH2.options());
  const Tensor d_v_SA = at::zeros(k_SA.sizes(), rows_TH2.options());
  BlockBuffer scores(rows_TH2.options());
  BlockBuffer d_weights(rows_TH2.options());
  BlockBuffer narrow_weights(k_SA.options());
  BlockBuffer narrow_d_scores(k_SA.options());
  for (const QueryBlock& block : query_blocks(q_ScA.size(0), shape)) {
    const int64_t num_keys = block.of_loop.num_keys;
    const Tensor q_RA = block.rows(q_ScA);
    const Tensor d_out_RA = block.rows(d_out_ScA);
    Tensor scores_RK = scores.matrix(block.num_rows(), num_keys);
    Tensor d_weights_RK = d_weights.matrix(block.num_rows(), num_keys);
    at::mm_out(scores_RK, q_RA.to(wide), wide_k_AS.slice(1, block.first_key, block.last));
    at::mm_out(d_weights_RK, d_out_RA.to(wide), wide_v_AS.slice(1, block.first_key, block.last));
    Tensor weights_RK = scores_RK;
    Tensor d_scores_RK = d_weights_RK;
    if constexpr (!std::is_same_v<Number, Wide<Number>>) {
      weights_RK = narrow_weights.matrix(block.num_rows(), num_keys);
      d_scores_RK = narrow_d_scores.matrix(block.num_rows(), num_keys);
    }
    run_loop(
        CausalSoftmaxBackwardLoop<Number>{
            kernel_data<Wide<Number>>(scores_RK), kernel_data<Wide<Number>>(d_weights_RK),
            kernel_data<Number>(weights_RK), kernel_data<Number>(d_scores_RK),
            softmax_rows_of<Wide<Number>>(rows_TH2, group, block, shape), shape.num_heads,
            block.of_loop, static_cast<Wide<Number>>(shape.scale)},
        block.num_rows(), num_keys);
    block.keys(d_v_SA).add_(at::mm(weights_RK.t(), d_out_RA));
    block.keys(d_k_SA).add_(at::mm(d_scores_RK.t(), q_RA));
    d_q_ScA.slice(0, block.first, block.last)
        .copy_(at::mm(d_scores_RK, block.keys(k_SA)).view({-1, shape.copies(), k_SA.size(1)}));
  }
  group.keys(d_qkv[1]).copy_(d_k_SA);
  group.keys(d_qkv[2]).copy_(d_v_SA);
}

class CausalAttention : public torch::autograd::Function<CausalAttention> {
 public:
  static Tensor forward(AutogradContext* context, const Tensor& q_THA, const Tensor& k_TGA,
                        const Tensor& v_TGA, const std::vector<int64_t>& starts, int64_t window) {
    RECORD_FUNCTION("molora::causal_attention", c10::ArrayRef<const c10::IValue>{});
    const AttentionShape shape = shape_of(q_THA, k_TGA, window);
    Tensor out_THA = at::empty(q_THA.sizes(), q_THA.options());
    const Tensor rows_TH2 =
        at::empty({q_THA.size(0), q_THA.size(1), 2}, q_THA.options().dtype(wide_type(q_THA)));
    const std::vector<Tensor> qkv = {of_whole_heads(q_THA), of_whole_heads(k_TGA),
                                     of_whole_heads(v_TGA)};
    if (can_pair_attention(q_THA)) {
      paired_attention(qkv[0], qkv[1], qkv[2], starts, window, out_THA, rows_TH2);
    } else {
      for_number_type(q_THA.scalar_type(), [&](auto tag) {
        using Number = typename decltype(tag)::Type;
        for_groups(starts, shape, [&](const HeadGroup& group) {
          attend_group<Number>(group, shape, qkv, out_THA, rows_TH2);
        });
      });
    }
    context->save_for_backward({q_THA, k_TGA, v_TGA, rows_TH2});
    context->saved_data["starts"] = starts;
    context->saved_data["window"] = window;
    return out_THA;
  }

  static variable_list backward(AutogradContext* context, variable_list gradients) {
    RECORD_FUNCTION("molora::causal_attention_backward", c10::ArrayRef<const c10::IValue>{});
    std::vector<Tensor> saved;
    for (const Tensor& tensor : context->get_saved_variables()) {
      saved.push_back(of_whole_heads(tensor));
    }
    const std::vector<int64_t> starts = context->saved_data["starts"].toIntVector();
    const int64_t window = context->saved_data["window"].toInt();
    std::vector<Tensor> d_qkv;
    for (size_t i = 0; i < 3; ++i) {
      d_qkv.push_back(at::empty(saved[i].sizes(), saved[i].options()));
    }
    const Tensor d_out_THA = of_whole_heads(gradients[0]);
    if (can_pair_attention(saved[0])) {
      paired_attention_backward(saved[0], saved[1], saved[2], saved[3], starts, window, d_out_THA,
                                {d_qkv[0], d_qkv[1], d_qkv[2]});
    } else {
      const AttentionShape shape = shape_of(saved[0], saved[1], window);
      for_number_type(saved[0].scalar_type(), [&](auto tag) {
        using Number = typename decltype(tag)::Type;
        for_groups(starts, shape, [&](const HeadGroup& group) {
          attend_group_backward<Number>(group, shape, saved, d_out_THA, d_qkv);
        });
      });
    }
    return {d_qkv[0], d_qkv[1], d_qkv[2], Tensor(), Tensor()};
  }

 private:
  // Without its history; each head's numbers side by side, pairs of them as far apart as words.
  static Tensor of_whole_heads(const Tensor& x) {
    const Tensor plain = x.detach();
    return plain.stride(2) == 1 && plain.stride(0) % 2 == 0 ? plain : plain.contiguous();
  }
  static AttentionShape shape_of(const Tensor& q_THA, const Tensor& k_TGA, int64_t window) {
    return {q_THA.size(1), k_TGA.size(1), window,
            1.0 / std::sqrt(static_cast<double>(q_THA.size(2)))};
  }
};

}  // namespace

Tensor causal_attention(const Tensor& q_THA, const Tensor& k_TGA, const Tensor& v_TGA,
                        const std::vector<int64_t>& starts, int64_t window) {
  MOLORA_CHECK(host_kernels_wanted(q_THA));
  MOLORA_CHECK(q_THA.dim() == 3 && k_TGA.sizes() == v_TGA.sizes() && k_TGA.dim() == 3 &&
                   q_THA.size(1) % k_TGA.size(1) == 0 && q_THA.size(2) == k_TGA.size(2),
               "{} heads over {} of {} tokens", q_THA.size(1), k_TGA.size(1), q_THA.size(0));
  MOLORA_CHECK(!starts.empty() && starts.front() == 0 && starts.back() == q_THA.size(0) &&
                   k_TGA.size(0) == q_THA.size(0) && q_THA.size(0) > 0,
               "{} tokens", q_THA.size(0));
  return CausalAttention::apply(q_THA, k_TGA, v_TGA, starts, window);
}

}  // namespace molora
