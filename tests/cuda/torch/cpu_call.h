// How operators of the fake device are computed: by LibTorch's CPU kernels, on CPU tensors that lie
// over the same memory, after all earlier work of the stream is done.
#pragma once

#include <cstddef>

#include <ATen/core/Tensor.h>
#include <c10/core/Storage.h>
#include <c10/core/Stream.h>

namespace molora::fake_torch {

using at::Tensor;

// A CPU storage over the memory of a storage of the device. It owns nothing; a kernel that makes it
// larger moves it to CPU memory of its own.
c10::Storage cpu_storage_over(const c10::Storage& device_storage);

// A CPU tensor of the same sizes, strides, offset and type over `storage`.
Tensor cpu_tensor_over(const Tensor& device_tensor, c10::Storage storage);

// Both in one.
Tensor cpu_tensor_over(const Tensor& device_tensor);

// A new tensor of the device with the values, sizes and strides of a CPU tensor. The values are
// there when `stream` has come so far.
Tensor device_copy(const Tensor& cpu_tensor, c10::Stream stream);

// What a kernel has just written to `device_tensor` is hidden behind NaN (integers: -1) until
// `stream` has come so far.
void hide_until_due(const Tensor& device_tensor, c10::Stream stream);

// Gives a storage of the device at least `bytes`; its first bytes are kept.
void grow(const c10::Storage& device_storage, size_t bytes);

}  // namespace molora::fake_torch
