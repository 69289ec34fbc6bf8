// Which way the operations of this folder are computed: by LibTorch's operators, or by kernels of
// our own that do the work of several of them at once.
//
// The choice is one for the process, made at its start. Both ways give the same numbers to the
// rounding of sums and of exp; the operators run on every device, the kernels on a GPU.
#pragma once

#include <ATen/ATen.h>

namespace molora {

using at::Tensor;

enum class KernelChoice { kAten, kFused };

// To be called before any work, if at all: kAten without. REQUIRES: for kFused, a program built
// with CUDA. `device` is the kind of device whose tensors go to the kernels; a test that runs the
// kernels' bodies on the host names the CPU.
void choose_kernels(KernelChoice choice, at::DeviceType device = at::kCUDA);

// Whether work on this tensor is for the kernels.
bool fused_kernels_wanted(const Tensor& tensor);

}  // namespace molora
