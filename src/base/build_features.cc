#include "base/build_features.h"

namespace molora {

bool is_built_for_gpus() {
#ifdef MOLORA_HAS_CUDA
  return true;
#else
  return false;
#endif
}

}  // namespace molora
