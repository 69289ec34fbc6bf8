// What a build without CUDA and NCCL says.
#include "base/error.h"
#include "comm/nccl_context.h"

namespace molora {

std::unique_ptr<NcclContext> NcclContext::make(Options) {
  throw ConfigError(
      "parallel.backend is nccl, but this molora was built without CUDA and NCCL; build it with "
      "-DMOLORA_CUDA=ON on a machine that has both, or write parallel.backend=mpi");
}

std::string nccl_failure() { return {}; }

std::string gpu_address(int) { return "none"; }

}  // namespace molora
