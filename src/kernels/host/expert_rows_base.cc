// Inner products of grouped experts in vectors of 16 bytes, which every machine has or imitates.
#include "kernels/host/expert_rows_body.h"

namespace molora {

ExpertRowsKernelSet expert_rows_kernels_base() { return all_kernels(); }

}  // namespace molora
