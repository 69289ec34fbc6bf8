#include "kernels/bodies/adamw_body.h"
#include "kernels/cuda/run_kernel.cuh"

namespace molora {

MOLORA_ADAMW_BODIES(MOLORA_LAUNCH_INSTANCE)

}  // namespace molora
