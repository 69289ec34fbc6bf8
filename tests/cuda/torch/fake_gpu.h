// For tests on the fake device: loads it before anything is asked of LibTorch, and compares.
#pragma once

#include <dlfcn.h>

#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <stdexcept>
#include <string>

#include <ATen/ATen.h>

#include "device/compute_device.h"
#include "tensor/philox_tensor.h"

namespace molora::testing {

// GPU 0. That it is loaded before main() is the point: LibTorch asks only once whether there is
// one.
inline const at::Device kGpu = (load_cuda(), use_gpu(0));

// A function of fake_torch.h or of the fake runtime's fake_cuda.h.
template <typename F>
F* fake_symbol(const char* name) {
  void* found = dlsym(RTLD_DEFAULT, name);
  if (found == nullptr) throw std::runtime_error(std::string("not in the fake device: ") + name);
  return reinterpret_cast<F*>(found);
}

inline uint64_t host_syncs() { return fake_symbol<uint64_t()>("fake_torch_host_syncs")(); }
inline uint64_t host_reads() { return fake_symbol<uint64_t()>("fake_torch_host_reads")(); }
inline size_t device_bytes(int device = 0) {
  return fake_symbol<size_t(int)>("fake_torch_device_bytes")(device);
}

// Numbers in [-1, 1), the same for the same seed; on `device`.
inline Tensor uniform(at::IntArrayRef sizes, uint64_t seed, at::Device device,
                      at::ScalarType type = at::kFloat) {
  Tensor values = at::empty(sizes, at::kFloat);
  fill_uniform(values, 1.0, seed, 0);
  return values.to(type).to(device);
}

inline Tensor indices(std::vector<int64_t> values, at::Device device) {
  return at::tensor(values, at::kLong).to(device);
}

// Whether both have the same type, sizes and bytes; wherever they are.
inline bool same_bits(const Tensor& a, const Tensor& b) {
  if (a.scalar_type() != b.scalar_type() || a.sizes() != b.sizes()) return false;
  const Tensor x = a.detach().cpu().contiguous();
  const Tensor y = b.detach().cpu().contiguous();
  return x.numel() == 0 || std::memcmp(x.const_data_ptr(), y.const_data_ptr(), x.nbytes()) == 0;
}

}  // namespace molora::testing
