// The inner products of grouped experts on a CPU (kernels/expert_rows.h), once for each set of
// vector instructions; which of them this machine has is asked when they are first used.
//
// Plain pointers and no C++ library: what includes this is compiled with instructions that the
// machine may not have, and an inline function of a library made there could be the one that the
// whole program uses.
#pragma once

#include <cstdint>

namespace molora {

// Rows of a [tokens, columns] matrix and, for each, `lora_rank` values: those of one expert.
// Rows of bf16 come with values and matrices in fp32.
struct ExpertRowsArguments {
  void* rows;             // of the whole matrix
  int64_t row_stride;     // elements from row to row
  const int64_t* tokens;  // [pairs]: which row
  int64_t num_pairs;      // of this expert
  void* values;           // [pairs, lora_rank]
  void* matrix;           // [lora_rank, columns], columns as many as the rows have
  int64_t matrix_stride;  // elements from row to row
  int64_t lora_rank;
  int64_t begin_column;  // the columns to work on
  int64_t end_column;
};

// The bits of a value depend on its own row, values and matrix alone, not on the other rows.
struct ExpertRowsKernels {
  // values[p, j] = sum over columns of rows[tokens[p]] matrix[j]
  void (*project)(const ExpertRowsArguments&);
  // rows[tokens[p]] += sum over j of values[p, j] matrix[j]; rounded once
  void (*expand)(const ExpertRowsArguments&);
  // matrix[j] += sum over p of values[p, j] rows[tokens[p]]
  void (*sum_outer)(const ExpertRowsArguments&);
};

struct ExpertRowsKernelSet {
  ExpertRowsKernels fp32;
  ExpertRowsKernels fp64;
  ExpertRowsKernels bf16;
};

// For every machine; for x86-64 with AVX2 and FMA; with AVX-512 (F, BW, DQ, VL); with its products
// of bf16 as well.
ExpertRowsKernelSet expert_rows_kernels_base();
ExpertRowsKernelSet expert_rows_kernels_avx2();
ExpertRowsKernelSet expert_rows_kernels_avx512();
ExpertRowsKernelSet expert_rows_kernels_avx512bf16();

}  // namespace molora
