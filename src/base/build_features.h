// What this program was built with.
#pragma once

namespace molora {

// Whether ranks can compute on GPUs (CMake's MOLORA_CUDA).
bool is_built_for_gpus();

}  // namespace molora
