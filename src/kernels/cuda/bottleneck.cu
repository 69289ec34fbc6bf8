#include "kernels/bodies/dropout_body.h"
#include "kernels/bodies/gate_scale_body.h"
#include "kernels/cuda/run_kernel.cuh"

namespace molora {

MOLORA_DROPOUT_BODIES(MOLORA_LAUNCH_INSTANCE)
MOLORA_GATE_SCALE_BODIES(MOLORA_LAUNCH_INSTANCE)

}  // namespace molora
