// Inner products of grouped experts in vectors of 64 bytes. Compiled with AVX-512.
#define MOLORA_VECTOR_BYTES 64
#include "kernels/host/expert_rows_body.h"

namespace molora {

ExpertRowsKernelSet expert_rows_kernels_avx512() { return all_kernels(); }

}  // namespace molora
