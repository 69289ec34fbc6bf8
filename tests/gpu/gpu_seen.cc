// What `device.kind: cuda` finds on this machine: which LibTorch library was loaded for it, and how
// many GPUs that sees; or the program's own words for why there are none (exit code 64).
#include <dlfcn.h>
#include <link.h>

#include <cstdio>

#include "base/error.h"
#include "device/compute_device.h"

namespace {

void print_loaded_library() {
  void* library = dlopen("libtorch_cuda.so", RTLD_NOW | RTLD_NOLOAD);
  const link_map* found = nullptr;
  if (library != nullptr && dlinfo(library, RTLD_DI_LINKMAP, &found) == 0) {
    std::printf("library: %s\n", found->l_name);
  } else {
    std::printf("library: none\n");
  }
}

}  // namespace

int main() {
  try {
    const int gpus = molora::load_cuda();
    print_loaded_library();
    std::printf("GPUs: %d\n", gpus);
    return 0;
  } catch (const molora::ConfigError& error) {
    print_loaded_library();
    std::printf("%s\n", error.what());
    return 64;
  }
}
