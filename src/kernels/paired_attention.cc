#include "kernels/paired_attention.h"

#include <algorithm>
#include <cmath>

#include "base/check.h"
#include "kernels/host/instruction_set.h"
#include "kernels/host/paired_attention_kernels.h"
#include "kernels/share_tasks.h"
#include "kernels/start_kernel.h"

namespace molora {

namespace {

PairedAttentionKernels kernels() {
#if defined(__x86_64__)
  return paired_attention_avx512bf16();
#else
  MOLORA_CHECK(false, "no processor of this kind has AVX512-BF16");
#endif
}

// One sequence: its first token, and where its packed rows begin in those of a key head.
struct Sequence {
  int64_t begin;
  int64_t packed_begin;
  PairedShape shape;
};

struct Batch {
  std::vector<Sequence> sequences;
  int64_t num_heads;
  int64_t num_key_heads;
  int64_t packed_rows = 0;  // of a key head

  Batch(const Tensor& q_THA, const Tensor& k_TGA, const std::vector<int64_t>& starts,
        int64_t window)
      : num_heads(q_THA.size(1)), num_key_heads(k_TGA.size(1)) {
    const auto scale = static_cast<float>(1.0 / std::sqrt(static_cast<double>(q_THA.size(2))));
    for (size_t s = 0; s + 1 < starts.size(); ++s) {
      const PairedShape shape = {starts[s + 1] - starts[s], q_THA.size(2), window, scale};
      if (shape.length == 0) continue;
      sequences.push_back({starts[s], packed_rows, shape});
      packed_rows += shape.padded();
    }
  }

  int64_t copies() const { return num_heads / num_key_heads; }
  // The longest first: the others fill the gaps that it leaves to the threads.
  std::vector<size_t> by_length() const {
    std::vector<size_t> order(sequences.size());
    for (size_t i = 0; i < order.size(); ++i) order[i] = i;
    std::stable_sort(order.begin(), order.end(), [&](size_t a, size_t b) {
      return sequences[a].shape.length > sequences[b].shape.length;
    });
    return order;
  }
};

// Runs the work of each sequence and each of so many heads.
template <typename Work>
void for_heads(const Batch& batch, int64_t num_heads, const Work& work) {
  const std::vector<size_t> order = batch.by_length();
  share_tasks(std::ssize(order) * num_heads, [&](int64_t task) {
    work(batch.sequences[order[static_cast<size_t>(task / num_heads)]], task % num_heads);
  });
}

// A sequence's rows of one head.
template <typename Element>
HeadRows<Element> head_rows(const Tensor& x_THA, const Sequence& sequence, int64_t head) {
  auto* first = static_cast<BFloat16*>(x_THA.data_ptr());
  return {first + sequence.begin * x_THA.stride(0) + head * x_THA.stride(1), x_THA.stride(0)};
}

// Keys or values of all sequences and heads, packed.
class PackedRows {
 public:
  using Pack = void (*)(const PairedShape&, HeadRows<const BFloat16>, uint32_t*);

  PackedRows(const Batch& batch, const Tensor& x_TGA, Pack pack)
      : head_size_(x_TGA.size(2)),
        words_(at::empty({batch.num_key_heads, batch.packed_rows * head_size_ / 2},
                         x_TGA.options().dtype(at::kInt))) {
    for_heads(batch, batch.num_key_heads, [&](const Sequence& sequence, int64_t head) {
      pack(sequence.shape, head_rows<const BFloat16>(x_TGA, sequence, head), words(sequence, head));
    });
  }

  uint32_t* words(const Sequence& sequence, int64_t head) const {
    return static_cast<uint32_t*>(words_.data_ptr()) + head * words_.stride(0) +
           sequence.packed_begin * head_size_ / 2;
  }

 private:
  int64_t head_size_;
  Tensor words_;
};

SoftmaxRow<float>* softmax_rows(const Tensor& rows_TH2, const Sequence& sequence, int64_t head) {
  return static_cast<SoftmaxRow<float>*>(rows_TH2.data_ptr()) + sequence.begin * rows_TH2.size(1) +
         head;
}

Tensor floats(int64_t count) { return at::empty({count}, at::kFloat); }

}  // namespace

bool can_pair_attention(const Tensor& q_THA) {
#if defined(__x86_64__)
  return q_THA.scalar_type() == at::kBFloat16 && q_THA.size(2) % kPairedLanes == 0 &&
         instruction_set() == InstructionSet::kAvx512 && __builtin_cpu_supports("avx512bf16");
#else
  return false;
#endif
}

void paired_attention(const Tensor& q_THA, const Tensor& k_TGA, const Tensor& v_TGA,
                      const std::vector<int64_t>& starts, int64_t window, const Tensor& out_THA,
                      const Tensor& rows_TH2) {
  const Batch batch(q_THA, k_TGA, starts, window);
  const PairedAttentionKernels run = kernels();
  const PackedRows keys(batch, k_TGA, run.pack_columns);
  const PackedRows values(batch, v_TGA, run.pack_rows);
  for_heads(batch, batch.num_heads, [&](const Sequence& sequence, int64_t head) {
    const Tensor space = floats(run.floats_forward(sequence.shape));
    const int64_t key_head = head / batch.copies();
    run.attend({.shape = sequence.shape,
                .q = head_rows<const BFloat16>(q_THA, sequence, head),
                .keys_AP = keys.words(sequence, key_head),
                .values_PA = values.words(sequence, key_head),
                .out = head_rows<BFloat16>(out_THA, sequence, head),
                .softmax_rows = softmax_rows(rows_TH2, sequence, head),
                .softmax_step = batch.num_heads,
                .space = space.data_ptr<float>()});
  });
}

void paired_attention_backward(const Tensor& q_THA, const Tensor& k_TGA, const Tensor& v_TGA,
                               const Tensor& rows_TH2, const std::vector<int64_t>& starts,
                               int64_t window, const Tensor& d_out_THA,
                               const AttentionGradients& gradients) {
  const Batch batch(q_THA, k_TGA, starts, window);
  const PairedAttentionKernels run = kernels();
  const PackedRows keys_AP(batch, k_TGA, run.pack_columns);
  const PackedRows keys_PA(batch, k_TGA, run.pack_rows);
  const PackedRows values_AP(batch, v_TGA, run.pack_columns);
  // Heads that share keys add to the same gradients: one after the other.
  for_heads(batch, batch.num_key_heads, [&](const Sequence& sequence, int64_t key_head) {
    const PairedShape& shape = sequence.shape;
    const Tensor space = floats(run.floats_backward(shape));
    const Tensor d_keys_PA = floats(2 * shape.words()).zero_();
    const Tensor d_values_PA = floats(2 * shape.words()).zero_();
    for (int64_t copy = 0; copy < batch.copies(); ++copy) {
      const int64_t head = key_head * batch.copies() + copy;
      run.attend_backward({.shape = shape,
                           .q = head_rows<const BFloat16>(q_THA, sequence, head),
                           .d_out = head_rows<const BFloat16>(d_out_THA, sequence, head),
                           .keys_AP = keys_AP.words(sequence, key_head),
                           .keys_PA = keys_PA.words(sequence, key_head),
                           .values_AP = values_AP.words(sequence, key_head),
                           .softmax_rows = softmax_rows(rows_TH2, sequence, head),
                           .softmax_step = batch.num_heads,
                           .d_q = head_rows<BFloat16>(gradients.d_q_THA, sequence, head),
                           .d_keys_PA = d_keys_PA.data_ptr<float>(),
                           .d_values_PA = d_values_PA.data_ptr<float>(),
                           .space = space.data_ptr<float>()});
    }
    run.round(shape, d_keys_PA.data_ptr<float>(),
              head_rows<BFloat16>(gradients.d_k_TGA, sequence, key_head));
    run.round(shape, d_values_PA.data_ptr<float>(),
              head_rows<BFloat16>(gradients.d_v_TGA, sequence, key_head));
  });
}

}  // namespace molora
