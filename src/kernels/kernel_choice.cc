#include "kernels/kernel_choice.h"

#include "base/check.h"
#include "kernels/start_kernel.h"

namespace molora {

namespace {

struct Choice {
  KernelChoice kernels = KernelChoice::kAten;
  at::DeviceType device = at::kCUDA;
};
Choice& choice() {
  static Choice made;
  return made;
}

}  // namespace

void choose_kernels(KernelChoice kernels, at::DeviceType device) {
  MOLORA_CHECK(kernels != KernelChoice::kFused || kHasKernels,
               "this program was built without CUDA and has no kernels");
  choice() = {kernels, device};
}

bool fused_kernels_wanted(const Tensor& tensor) {
  return choice().kernels == KernelChoice::kFused && tensor.device().type() == choice().device;
}

bool host_kernels_wanted(const Tensor& tensor) {
  return choice().kernels == KernelChoice::kHost && tensor.is_cpu();
}

}  // namespace molora
