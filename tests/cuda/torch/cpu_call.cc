#include "cpu_call.h"

#include <cstdlib>
#include <cstring>
#include <limits>
#include <memory>
#include <string_view>
#include <utility>

#include <ATen/ATen.h>
#include <ATen/core/LegacyTypeDispatch.h>
#include <c10/core/CPUAllocator.h>
#include <c10/core/DeviceGuard.h>

#include "device_memory.h"
#include "fake_cuda.h"
#include "runtime_call.h"
#include "streams.h"

namespace molora::fake_torch {

namespace {

bool results_are_late() {
  static const bool late = [] {
    const char* value = std::getenv("FAKE_TORCH_LATE");
    return value == nullptr || std::string_view(value) != "0";
  }();
  return late;
}

// Values on their way to where they belong: a stream carries them when it comes to them.
struct Delivery {
  void* to = nullptr;     // where all bytes of `values` go, or
  Tensor to_elements;     // the elements that they are for
  c10::Storage values;    // bytes
  Tensor value_elements;  // elements
  size_t bytes = 0;
};

void deliver(void* context) {
  const std::unique_ptr<Delivery> delivery(static_cast<Delivery*>(context));
  if (delivery->to != nullptr) {
    std::memcpy(delivery->to, delivery->values.data(), delivery->bytes);
    return;
  }
  const at::AutoDispatchBelowADInplaceOrView below_autograd;
  delivery->to_elements.copy_(delivery->value_elements);
}

void send(std::unique_ptr<Delivery> delivery, c10::Stream stream) {
  if (!results_are_late()) return deliver(delivery.release());
  const c10::DeviceGuard on(stream.device());
  TORCH_CHECK(fake_cuda_enqueue(handle_of(stream), &deliver, delivery.get()) > 0,
              "fake torch: the current stream was destroyed");
  delivery.release();  // the stream's now
}

void poison(const Tensor& cpu_tensor) {
  if (cpu_tensor.scalar_type() == at::kBool) {
    cpu_tensor.fill_(true);
  } else if (cpu_tensor.is_non_overlapping_and_dense()) {
    std::memset(cpu_tensor.data_ptr(), 0xff, cpu_tensor.nbytes());
  } else if (cpu_tensor.is_floating_point()) {
    cpu_tensor.fill_(std::numeric_limits<double>::quiet_NaN());
  } else {
    cpu_tensor.fill_(-1);
  }
}

}  // namespace

c10::Storage cpu_storage_over(const c10::Storage& device_storage) {
  return {c10::Storage::use_byte_size_t{}, device_storage.nbytes(),
          c10::DataPtr(const_cast<void*>(device_storage.data()), c10::Device(c10::kCPU)),
          c10::GetCPUAllocator(), /*resizable=*/true};
}

Tensor cpu_tensor_over(const Tensor& device_tensor, c10::Storage storage) {
  TORCH_CHECK(!device_tensor.is_conj() && !device_tensor.is_neg(),
              "fake torch: tensors with a conjugate or negative bit are not supported");
  Tensor alias = at::detail::make_tensor<c10::TensorImpl>(
      std::move(storage), c10::DispatchKeySet(c10::DispatchKey::CPU), device_tensor.dtype());
  alias.unsafeGetTensorImpl()->set_sizes_and_strides(device_tensor.sizes(), device_tensor.strides(),
                                                     device_tensor.storage_offset());
  if (device_tensor.unsafeGetTensorImpl()->is_wrapped_number()) {
    alias.unsafeGetTensorImpl()->set_wrapped_number(true);
  }
  return alias;
}

Tensor cpu_tensor_over(const Tensor& device_tensor) {
  return cpu_tensor_over(device_tensor, cpu_storage_over(device_tensor.storage()));
}

Tensor device_copy(const Tensor& cpu_tensor, c10::Stream stream) {
  const c10::DeviceGuard on(stream.device());
  const c10::Storage& values = cpu_tensor.storage();
  c10::Storage storage(c10::Storage::use_byte_size_t{}, values.nbytes(),
                       device_allocator()->allocate(values.nbytes()), device_allocator(),
                       /*resizable=*/true);
  if (values.nbytes() > 0) {
    auto delivery = std::make_unique<Delivery>();
    delivery->to = storage.mutable_data();
    delivery->values = values;
    delivery->bytes = values.nbytes();
    send(std::move(delivery), stream);
  }
  Tensor copy = at::detail::make_tensor<c10::TensorImpl>(
      std::move(storage), c10::DispatchKeySet(c10::DispatchKey::CUDA), cpu_tensor.dtype());
  copy.unsafeGetTensorImpl()->set_sizes_and_strides(cpu_tensor.sizes(), cpu_tensor.strides(),
                                                    cpu_tensor.storage_offset());
  return copy;
}

void hide_until_due(const Tensor& device_tensor, c10::Stream stream) {
  if (!results_are_late() || device_tensor.numel() == 0) return;
  const at::AutoDispatchBelowADInplaceOrView below_autograd;
  auto delivery = std::make_unique<Delivery>();
  const Tensor place = cpu_tensor_over(device_tensor);
  Tensor values = place.clone();
  if (place.is_non_overlapping_and_dense()) {
    delivery->to = place.data_ptr();
    delivery->values = values.storage();
    delivery->bytes = place.nbytes();
  } else {
    delivery->to_elements = place;
    delivery->value_elements = values;
  }
  poison(place);
  send(std::move(delivery), stream);
}

void grow(const c10::Storage& device_storage, size_t bytes) {
  const size_t before = device_storage.nbytes();
  if (bytes <= before) return;
  const c10::Device device = device_storage.device();
  const c10::DeviceGuard on(device);
  c10::DataPtr larger = device_allocator()->allocate(bytes);
  if (before > 0) device_allocator()->copy_data(larger.get(), device_storage.data(), before);
  device_storage.unsafeGetStorageImpl()->set_data_ptr_noswap(std::move(larger));
  device_storage.unsafeGetStorageImpl()->set_nbytes(bytes);
}

}  // namespace molora::fake_torch
