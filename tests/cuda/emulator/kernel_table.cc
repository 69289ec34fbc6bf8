// libmolora_emulated_kernels.so: every kernel of the program as a function of the host, under its
// mangled name, for the fake libcudart.so.13.
//
// FAKE_CUDA_SEED also draws the order of blocks and threads (0: ascending).
#include <dlfcn.h>

#include <cstdio>
#include <cstdlib>
#include <string>

#include "cuda/emulator/emulate.h"
#include "fake_cuda.h"
#include "kernels/bodies/all_bodies.h"

namespace molora {

// Has the name that nvcc gives the kernel (kernels/cuda/run_kernel.cuh), by which it is found.
template <typename Body>
[[gnu::visibility("default"), gnu::used]] void run_kernel(const Body body) {
  testing::emulate(body);
}

namespace testing {
namespace {

uint64_t order_seed() {
  const char* text = std::getenv("FAKE_CUDA_SEED");
  return text == nullptr ? 0 : std::strtoull(text, nullptr, 10);
}

template <typename Body>
const char* mangled_name() {
  Dl_info info;
  if (dladdr(reinterpret_cast<const void*>(&run_kernel<Body>), &info) == 0 ||
      info.dli_sname == nullptr ||
      info.dli_saddr != reinterpret_cast<const void*>(&run_kernel<Body>)) {
    std::fprintf(stderr, "emulated kernels: a kernel of the table has no name of its own\n");
    std::abort();
  }
  return info.dli_sname;
}

// One launch, on the stream's own thread. The fake run time reports what is thrown.
template <typename Body>
void run_grid(dim3 grid, dim3 block, size_t shared_bytes, void** args) {
  if (block.x != Body::kThreads || block.y * block.z * grid.y * grid.z != 1 || shared_bytes != 0) {
    throw KernelFault("launched with another shape than the kernel's");
  }
  emulate_blocks(*static_cast<const Body*>(args[0]), {0, grid.x, order_seed()});
}

template <typename Body>
void register_kernel() {
  const size_t arg_size = sizeof(Body);
  fake_cuda_register_kernel(mangled_name<Body>(), &run_grid<Body>, &arg_size, 1);
}

#define MOLORA_REGISTER(...) register_kernel<__VA_ARGS__>();
[[gnu::constructor]] void register_all() { MOLORA_ALL_BODIES(MOLORA_REGISTER) }

}  // namespace
}  // namespace testing
}  // namespace molora
