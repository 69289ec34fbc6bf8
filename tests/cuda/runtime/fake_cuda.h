// What the fake libcudart.so.13 offers beside the CUDA run time: kernels are handed to it as host
// functions, and the fake libnccl.so.2 puts its work on streams and asks whose memory a pointer is.
//
// C linkage: those who use it are shared libraries of their own. Nothing here blocks.
#pragma once

#include <cstddef>
#include <cstdint>

#include <cuda_runtime_api.h>

extern "C" {

// Runs every block and thread of one launch. `args` are the kernel's arguments, one pointer each,
// as cudaLaunchKernel has them.
typedef void (*fake_cuda_kernel)(dim3 grid, dim3 block, size_t shared_bytes, void** args);

// Names the host function that stands for the kernel `mangled_name`. Arguments are copied when a
// kernel is launched: argument i has arg_sizes[i] bytes. A second registration of a name replaces
// the first. Thread-safe; meant for static initialisers of libmolora_emulated_kernels.so, which is
// loaded from the folder of the fake libcudart at the first launch of an unknown kernel.
void fake_cuda_register_kernel(const char* mangled_name, fake_cuda_kernel run,
                               const size_t* arg_sizes, size_t num_args);

// How many kernels have been launched by this process.
uint64_t fake_cuda_num_launches(void);

// Puts run(context) on the stream; it runs on the stream's thread and may wait. Returns its
// position there (1 for the first work of a stream), or 0 when the stream is not one. The null
// stream is the default stream of the calling thread's device.
uint64_t fake_cuda_enqueue(cudaStream_t stream, void (*run)(void*), void* context);

// The device of a stream, or -1 when it is destroyed or was never a stream.
int fake_cuda_stream_device(cudaStream_t stream);

// Whether all that is put on `later` from now on runs after position `position` of `earlier`: they
// are one stream, events order them, or that position is done.
int fake_cuda_is_ordered(cudaStream_t later, cudaStream_t earlier, uint64_t position);

// Whether no stream of the device has work left.
int fake_cuda_device_is_idle(int device);

// 0 when [begin, begin + bytes) lies in one live allocation of this device; else 1, and `why` tells
// what is there instead.
int fake_cuda_check_device_memory(const void* begin, size_t bytes, int device, char* why,
                                  size_t why_size);

}  // extern "C"
