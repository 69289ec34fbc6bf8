#include "kernels/bodies/router_body.h"
#include "kernels/bodies/router_statistics_body.h"
#include "kernels/cuda/run_kernel.cuh"

namespace molora {

MOLORA_ROUTER_BODIES(MOLORA_LAUNCH_INSTANCE)
MOLORA_ROUTER_STATISTICS_BODIES(MOLORA_LAUNCH_INSTANCE)

}  // namespace molora
