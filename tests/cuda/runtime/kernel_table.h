// Kernels by name (host functions that stand for them) and by the address of nvcc's host stub.
#pragma once

#include <cstddef>
#include <cstdint>
#include <map>
#include <mutex>
#include <string>
#include <vector>

#include "fake_cuda.h"

namespace molora::fake_cuda {

struct Kernel {
  fake_cuda_kernel run = nullptr;
  std::vector<size_t> arg_sizes;
};

// What nvcc's code registers for each __global__ function.
struct HostStub {
  std::string name;
  size_t max_dynamic_shared_bytes = size_t{48} << 10;  // raised by cudaFuncSetAttribute
};

// Thread-safe. Entries are never removed.
class KernelTable {
 public:
  void add(const std::string& name, Kernel kernel);
  void add_stub(const void* stub, const std::string& name);

  // The stub at this address; also when the address is one that find_stub returned. nullptr when
  // nothing was registered there.
  HostStub* find_stub(const void* address);

  // The kernel of this name, after a look into libmolora_emulated_kernels.so where it is not known.
  // Ends the process when there is none, with the names that are known.
  Kernel find(const std::string& name);

 private:
  bool look_up(const std::string& name, Kernel& out);

  std::mutex mutex_;
  std::map<std::string, Kernel> kernels_;
  std::map<const void*, HostStub> stubs_;
  std::once_flag library_is_loaded_;
};

KernelTable& kernels();

}  // namespace molora::fake_cuda
