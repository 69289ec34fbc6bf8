#include "kernels/expert_rows.h"

#include <algorithm>
#include <utility>

#include <ATen/Parallel.h>
#include <ATen/core/grad_mode.h>
#include <ATen/record_function.h>

#include "base/check.h"
#include "kernels/host/expert_rows_kernels.h"
#include "kernels/host/instruction_set.h"
#include "kernels/share_tasks.h"
#include "kernels/start_kernel.h"

namespace molora {

namespace {

// Pairs of one task, and the fewest columns: as small as work for several threads is worth.
constexpr int64_t kPairsOfTask = 64;
constexpr int64_t kColumnsOfTask = 512;
constexpr int64_t kLeastColumns = 64;

ExpertRowsKernelSet kernel_set(MatrixRounding rounding) {
#if defined(__x86_64__)
  const InstructionSet best = instruction_set();
  if (best == InstructionSet::kAvx512) {
    return rounding == MatrixRounding::kToRows && __builtin_cpu_supports("avx512bf16")
               ? expert_rows_kernels_avx512bf16()
               : expert_rows_kernels_avx512();
  }
  if (best == InstructionSet::kAvx2 && __builtin_cpu_supports("fma")) {
    return expert_rows_kernels_avx2();
  }
#endif
  return expert_rows_kernels_base();
}

ExpertRowsKernels kernels_for(at::ScalarType type,
                              MatrixRounding rounding = MatrixRounding::kToRows) {
  const ExpertRowsKernelSet set = kernel_set(rounding);
  if (type == at::kDouble) return set.fp64;
  if (type == at::kBFloat16) return set.bf16;
  MOLORA_CHECK(type == at::kFloat, "rows of type {}", at::toString(type));
  return set.fp32;
}

struct CountedPairs {
  ExpertRows rows;
  int64_t* tokens;
  int64_t* slots;
  std::vector<int64_t> next;  // where each expert's next pair goes

  explicit CountedPairs(const std::vector<int64_t>& counts) {
    rows.begins.resize(counts.size() + 1);
    for (size_t e = 0; e < counts.size(); ++e) rows.begins[e + 1] = rows.begins[e] + counts[e];
    rows.tokens_P = at::empty({rows.begins.back()}, at::kLong);
    rows.slots_P = at::empty({rows.begins.back()}, at::kLong);
    tokens = rows.tokens_P.mutable_data_ptr<int64_t>();
    slots = rows.slots_P.mutable_data_ptr<int64_t>();
    next = rows.begins;
  }

  void add(int64_t token, int64_t expert) {
    const int64_t pair = next[static_cast<size_t>(expert)]++;
    tokens[pair] = token;
    slots[pair] = token * rows.num_experts() + expert;
  }
};

template <typename Gate>
ExpertRows rows_of_gates(const Tensor& gates_TE) {
  const int64_t tokens = gates_TE.size(0);
  const int64_t experts = gates_TE.size(1);
  const auto* gates = gates_TE.const_data_ptr<Gate>();
  std::vector<int64_t> counts(static_cast<size_t>(experts));
  for (int64_t t = 0; t < tokens; ++t) {
    for (int64_t e = 0; e < experts; ++e) {
      counts[static_cast<size_t>(e)] += gates[t * experts + e] != Gate{0};
    }
  }
  CountedPairs pairs(counts);
  for (int64_t t = 0; t < tokens; ++t) {
    for (int64_t e = 0; e < experts; ++e) {
      if (gates[t * experts + e] != Gate{0}) pairs.add(t, e);
    }
  }
  return std::move(pairs.rows);
}

// Everything of a product but the expert.
struct Product {
  const ExpertRows& rows;
  ExpertRowsArguments whole;
  int64_t matrix_size;  // elements of one expert's matrix
  int64_t wide_bytes;

  // `rows` of the expert from `first` to `end`, these columns.
  ExpertRowsArguments part(size_t expert, int64_t first, int64_t end) const {
    ExpertRowsArguments at = whole;
    at.tokens += first;
    at.num_pairs = end - first;
    at.values = static_cast<char*>(whole.values) + first * whole.lora_rank * wide_bytes;
    at.matrix =
        static_cast<char*>(whole.matrix) + static_cast<int64_t>(expert) * matrix_size * wide_bytes;
    return at;
  }
  ExpertRowsArguments part(size_t expert) const {
    return part(expert, rows.begins[expert], rows.begins[expert + 1]);
  }
};

// x_TC with contiguous columns; values_Pr, matrix_ErC contiguous, in the wide type.
Product product_of(const Tensor& x_TC, const Tensor& values_Pr, const Tensor& matrix_ErC,
                   const ExpertRows& rows) {
  MOLORA_CHECK(x_TC.is_cpu() && x_TC.dim() == 2 && matrix_ErC.dim() == 3);
  MOLORA_CHECK(x_TC.stride(1) == 1 || x_TC.size(1) <= 1, "columns {} apart", x_TC.stride(1));
  MOLORA_CHECK_EQ(matrix_ErC.size(0), rows.num_experts(), "experts");
  MOLORA_CHECK_EQ(matrix_ErC.size(2), x_TC.size(1), "columns");
  MOLORA_CHECK_EQ(values_Pr.size(0), rows.num_pairs(), "pairs");
  MOLORA_CHECK_EQ(values_Pr.size(1), matrix_ErC.size(1), "values of a pair");
  const int64_t columns = x_TC.size(1);
  return {rows,
          {.rows = x_TC.data_ptr(),
           .row_stride = x_TC.stride(0),
           .tokens = rows.tokens_P.const_data_ptr<int64_t>(),
           .num_pairs = rows.num_pairs(),
           .values = values_Pr.data_ptr(),
           .matrix = matrix_ErC.data_ptr(),
           .matrix_stride = columns,
           .lora_rank = matrix_ErC.size(1),
           .begin_column = 0,
           .end_column = columns},
          matrix_ErC.size(1) * columns,
          matrix_ErC.element_size()};
}

// Parts of the columns: as many for each thread; whole vectors, so that no bit depends on it.
int64_t columns_of_task(int64_t columns) {
  const int64_t threads = at::get_num_threads();
  const int64_t per_thread = (columns + threads * kColumnsOfTask - 1) / (threads * kColumnsOfTask);
  const int64_t parts = per_thread * threads;
  const int64_t share = (columns + parts - 1) / parts;
  return std::max(kLeastColumns, (share + kLeastColumns - 1) / kLeastColumns * kLeastColumns);
}

Tensor contiguous_columns(const Tensor& x_TC) {
  return x_TC.stride(1) == 1 ? x_TC : x_TC.contiguous();
}

}  // namespace

ExpertRows rows_by_expert(const Tensor& chosen_TK, int64_t num_experts) {
  ExpertRows rows = rows_by_held_expert(chosen_TK, 0, num_experts);
  const auto* chosen = chosen_TK.const_data_ptr<int64_t>();
  const int64_t made = chosen_TK.is_contiguous()
                           ? std::count_if(chosen, chosen + chosen_TK.numel(),
                                           [](int64_t expert) { return expert >= 0; })
                           : (chosen_TK >= 0).sum().item<int64_t>();
  MOLORA_CHECK_EQ(rows.num_pairs(), made, "choices among {} experts", num_experts);
  return rows;
}

ExpertRows rows_by_held_expert(const Tensor& chosen_TK, int64_t first, int64_t num_held) {
  MOLORA_CHECK(chosen_TK.is_cpu() && chosen_TK.dim() == 2);
  const Tensor chosen = chosen_TK.contiguous();
  const auto* experts = chosen.const_data_ptr<int64_t>();
  const int64_t per_token = chosen.size(1);
  const auto is_held = [&](int64_t expert) { return expert >= first && expert < first + num_held; };
  std::vector<int64_t> counts(static_cast<size_t>(num_held));
  for (int64_t i = 0; i < chosen.numel(); ++i) {
    if (is_held(experts[i])) ++counts[static_cast<size_t>(experts[i] - first)];
  }
  CountedPairs pairs(counts);
  for (int64_t i = 0; i < chosen.numel(); ++i) {
    if (is_held(experts[i])) pairs.add(i / per_token, experts[i] - first);
  }
  return std::move(pairs.rows);
}

ExpertRows all_rows(int64_t num_tokens) {
  const Tensor tokens_P = at::arange(num_tokens, at::kLong);
  return {tokens_P, tokens_P, {0, num_tokens}};
}

Tensor places_of_slots(const Tensor& wanted, const Tensor& slots, int64_t num_slots) {
  const at::NoGradGuard no_grad;
  MOLORA_CHECK_EQ(wanted.size(0), slots.size(0), "slots in two orders");
  const Tensor place = at::empty({num_slots}, slots.options());
  place.index_copy_(0, slots, at::arange(slots.size(0), slots.options()));
  return place.index_select(0, wanted);
}

ExpertRows rows_by_gate(const Tensor& gates_TE) {
  MOLORA_CHECK(gates_TE.is_cpu() && gates_TE.dim() == 2);
  const Tensor gates = gates_TE.detach().contiguous();
  return gates.scalar_type() == at::kDouble ? rows_of_gates<double>(gates)
                                            : rows_of_gates<float>(gates);
}

Tensor project_rows(const Tensor& x_TC, const Tensor& matrix_ErC, const ExpertRows& rows,
                    MatrixRounding rounding) {
  const at::NoGradGuard no_grad;
  const at::ScalarType wide = wide_type(x_TC);
  const Tensor x = contiguous_columns(x_TC);
  const Tensor matrix = matrix_ErC.to(wide).contiguous();
  Tensor values_Pr = at::empty({rows.num_pairs(), matrix.size(1)}, x.options().dtype(wide));
  const Product product = product_of(x, values_Pr, matrix, rows);
  const auto project = kernels_for(x.scalar_type(), rounding).project;
  std::vector<std::pair<size_t, int64_t>> tasks;  // expert, first pair
  for (size_t e = 0; e + 1 < rows.begins.size(); ++e) {
    for (int64_t p = rows.begins[e]; p < rows.begins[e + 1]; p += kPairsOfTask) {
      tasks.emplace_back(e, p);
    }
  }
  share_tasks(static_cast<int64_t>(tasks.size()), [&](int64_t task) {
    const auto [e, first] = tasks[static_cast<size_t>(task)];
    project(product.part(e, first, std::min(first + kPairsOfTask, rows.begins[e + 1])));
  });
  return values_Pr;
}

void expand_rows(const Tensor& out_TC, const Tensor& values_Pr, const Tensor& matrix_ErC,
                 const ExpertRows& rows) {
  const at::NoGradGuard no_grad;
  const at::ScalarType wide = wide_type(out_TC);
  const Tensor matrix = matrix_ErC.to(wide).contiguous();
  const Tensor values = values_Pr.to(wide).contiguous();
  const Product product = product_of(out_TC, values, matrix, rows);
  const auto expand = kernels_for(out_TC.scalar_type()).expand;
  const int64_t columns = out_TC.size(1);
  const int64_t of_task = columns_of_task(columns);
  share_tasks((columns + of_task - 1) / of_task, [&](int64_t task) {
    for (size_t e = 0; e + 1 < rows.begins.size(); ++e) {
      ExpertRowsArguments at = product.part(e);
      at.begin_column = task * of_task;
      at.end_column = std::min(columns, at.begin_column + of_task);
      expand(at);
    }
  });
}

Tensor sum_outer_rows(const Tensor& values_Pr, const Tensor& x_TC, const ExpertRows& rows,
                      MatrixRounding rounding) {
  const at::NoGradGuard no_grad;
  const at::ScalarType wide = wide_type(x_TC);
  const Tensor x = contiguous_columns(x_TC);
  const Tensor values = values_Pr.to(wide).contiguous();
  const int64_t columns = x.size(1);
  Tensor sums_ErC =
      at::zeros({rows.num_experts(), values.size(1), columns}, x.options().dtype(wide));
  const Product product = product_of(x, values, sums_ErC, rows);
  const auto sum_outer = kernels_for(x.scalar_type(), rounding).sum_outer;
  const int64_t of_task = columns_of_task(columns);
  const int64_t parts = (columns + of_task - 1) / of_task;
  share_tasks(rows.num_experts() * parts, [&](int64_t task) {
    ExpertRowsArguments at = product.part(static_cast<size_t>(task / parts));
    at.begin_column = task % parts * of_task;
    at.end_column = std::min(columns, at.begin_column + of_task);
    sum_outer(at);
  });
  return sums_ErC;
}

}  // namespace molora
