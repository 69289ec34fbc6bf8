// Which way the operations of this folder are computed: by LibTorch's operators, or by kernels of
// our own that do the work of several of them at once.
//
// The choice is one for the process, made at its start. All ways give the same numbers to the
// rounding of sums and of exp; the operators run on every device, the kernels on a GPU or, as
// vectorised loops (kernels/host), on the CPU.
#pragma once

#include <ATen/ATen.h>

namespace molora {

using at::Tensor;

enum class KernelChoice { kAten, kFused, kHost };

// To be called before any work, if at all: kAten without. REQUIRES: for kFused, a program built
// with CUDA. `device` is the kind of device whose tensors go to the kernels of kFused; a test that
// runs the kernels' bodies on the host names the CPU. kHost: the CPU's tensors go to the loops, and
// all others to the operators.
void choose_kernels(KernelChoice choice, at::DeviceType device = at::kCUDA);

// Whether work on this tensor is for the kernels of a GPU.
bool fused_kernels_wanted(const Tensor& tensor);

// Whether it is for the loops of the CPU.
bool host_kernels_wanted(const Tensor& tensor);

}  // namespace molora
