#include "kernels/bodies/rms_norm_body.h"
#include "kernels/bodies/rotary_body.h"
#include "kernels/cuda/run_kernel.cuh"

namespace molora {

MOLORA_RMS_NORM_BODIES(MOLORA_LAUNCH_INSTANCE)
MOLORA_ROTARY_BODIES(MOLORA_LAUNCH_INSTANCE)

}  // namespace molora
