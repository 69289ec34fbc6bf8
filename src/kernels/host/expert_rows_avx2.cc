// Inner products of grouped experts in vectors of 32 bytes. Compiled with AVX2 and FMA.
#define MOLORA_VECTOR_BYTES 32
#include "kernels/host/expert_rows_body.h"

namespace molora {

ExpertRowsKernelSet expert_rows_kernels_avx2() { return all_kernels(); }

}  // namespace molora
