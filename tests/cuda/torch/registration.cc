// Gives LibTorch the operators of the fake device.
//
// Each operator with a kernel for the CPU is registered by name, and not only as the fallback of
// all: LibTorch prefers a composition of other operators to a fallback, and its numbers would
// differ from the CPU's in the last bit.

#include <string>

#include <torch/library.h>

#include "operators.h"

namespace molora::fake_torch {

namespace {

void register_own(torch::Library& library) {
  library.impl("empty.memory_format", &empty);
  library.impl("empty_strided", &empty_strided);
  library.impl("resize_", &resize_);
  library.impl("set_.source_Storage", &set_whole_storage);
  library.impl("set_.source_Storage_storage_offset", &set_storage);
  library.impl("set_.source_Tensor", &set_tensor);
  library.impl("copy_", &copy_);
  library.impl("_local_scalar_dense", &item);
  library.impl("record_stream", &record_stream_of);
  library.impl("_scaled_dot_product_efficient_attention", &attend);
  library.impl("_scaled_dot_product_efficient_attention_backward", &attend_backward);
  library.impl("_flash_attention_forward", &flash_forward);
  library.impl("_flash_attention_backward", &flash_backward);
  // A composition that reads the offsets on the host; a GPU has a kernel for it.
  library.impl("_grouped_mm", torch::CppFunction::makeFromBoxedFunction<&run_on_cpu>());
}

void register_all_of_the_cpu(torch::Library& library) {
  for (const c10::OperatorName& name : c10::Dispatcher::singleton().getAllOpNames()) {
    if (name.name.rfind("aten::", 0) != 0) continue;
    const auto op = c10::Dispatcher::singleton().findOp(name);
    if (!op || !op->hasKernelForDispatchKey(c10::DispatchKey::CPU) ||
        op->hasKernelForDispatchKey(c10::DispatchKey::CUDA)) {
      continue;
    }
    const std::string full =
        name.overload_name.empty() ? name.name : name.name + "." + name.overload_name;
    library.impl(full.c_str(), torch::CppFunction::makeFromBoxedFunction<&run_on_cpu>());
  }
}

}  // namespace

TORCH_LIBRARY_IMPL(aten, CUDA, library) {
  register_own(library);
  register_all_of_the_cpu(library);
}

// What LibTorch knows for CUDA only ends here and is refused by its name.
TORCH_LIBRARY_IMPL(_, CUDA, library) {
  library.fallback(torch::CppFunction::makeFromBoxedFunction<&run_on_cpu>());
}

}  // namespace molora::fake_torch
