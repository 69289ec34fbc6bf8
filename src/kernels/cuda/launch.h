// Starts a kernel: for plain C++, which needs no header of CUDA for it.
#pragma once

struct CUstream_st;

namespace molora {

// Starts `body` (kernels/bodies) on this stream (a cudaStream_t) and returns at once: cudaSuccess,
// which is 0, or what CUDA says. Without blocks there is nothing to start. The memory that the body
// points to must live until the stream has come past it.
// Defined by the .cu files of this folder for the instances that each body's header lists.
template <typename Body>
[[nodiscard]] int launch(const Body& body, CUstream_st* stream);

// CUDA's name and words for a result of launch().
const char* launch_error_name(int error);
const char* launch_error_words(int error);

}  // namespace molora
