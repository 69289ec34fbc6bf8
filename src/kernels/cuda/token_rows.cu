#include "kernels/bodies/combine_rows_body.h"
#include "kernels/bodies/exchange_index_body.h"
#include "kernels/bodies/gather_rows_body.h"
#include "kernels/cuda/run_kernel.cuh"

namespace molora {

MOLORA_COMBINE_ROWS_BODIES(MOLORA_LAUNCH_INSTANCE)
MOLORA_EXCHANGE_INDEX_BODIES(MOLORA_LAUNCH_INSTANCE)
MOLORA_GATHER_ROWS_BODIES(MOLORA_LAUNCH_INSTANCE)

}  // namespace molora
