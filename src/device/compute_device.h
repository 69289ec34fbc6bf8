// What this process computes on: its CPU, or one GPU through LibTorch's CUDA library.
//
// The program is not linked with libtorch_cuda: it is loaded when a GPU is asked for, so that one
// program serves machines with and without GPUs. After that everything goes through LibTorch's
// device-independent interfaces; nothing else in the program knows what a GPU is but the kernels
// (src/kernels) and the NCCL communicator (src/comm).
#pragma once

#include <functional>

#include <ATen/ATen.h>

namespace molora {

using at::Tensor;

// Loads libtorch_cuda (once) and returns how many GPUs it sees. The one that LD_LIBRARY_PATH finds
// comes first, then the one beside the LibTorch in use. REQUIRES: nothing in the process has asked
// LibTorch for CUDA before. It keeps the first answer, and asks itself at the first backward pass,
// is_pinned() or pin_memory(), on CPU tensors too; plain CPU operators do not ask.
// Throws: ConfigError when the library or one that it needs cannot be loaded, with the loader's
// words; or when it sees no GPU; InternalError when it was asked before.
int load_cuda();

// Makes GPU `index` that of the calling thread and returns it. REQUIRES: load_cuda() was called.
at::Device use_gpu(int index);

// Only operators with a fixed order from here on, in the whole process.
void use_deterministic_operators();

// The handle (cudaStream_t) of the stream that the calling thread's operators on `device` go to;
// nullptr for the CPU.
void* compute_stream(at::Device device);

// A copy on `device`, without waiting for it: CPU tensors are first copied into page-locked memory,
// so that the copy runs beside the GPU's work. For the CPU: the tensor itself.
Tensor to_device(const Tensor& host, at::Device device);

// How to_host() waits until the GPU has come so far: calls the function it gets again and again
// until that returns true, and may throw (a lost peer). Without one (nullptr) it polls.
using WaitUntil = std::function<void(const std::function<bool()>& is_done)>;
void set_wait_until(WaitUntil wait);

// The values on the CPU: the one way in which the host waits for the GPU. Every call in the product
// says why it must wait. CPU tensors come back as they are.
Tensor to_host(const Tensor& tensor);

// Waits for all work of this thread's compute stream. Nothing to do for the CPU.
void finish_work(at::Device device);

}  // namespace molora
