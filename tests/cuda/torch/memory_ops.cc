// Operators that make, share and move memory of the device: empty tensors, views, copies, item().

#include <optional>

#include <ATen/ATen.h>
#include <ATen/EmptyTensor.h>
#include <ATen/core/LegacyTypeDispatch.h>
#include <ATen/native/Resize.h>
#include <c10/core/DeviceGuard.h>

#include "cpu_call.h"
#include "device_memory.h"
#include "host_syncs.h"
#include "operators.h"
#include "runtime_call.h"
#include "streams.h"

namespace molora::fake_torch {

namespace {

using c10::DispatchKeySet;

const DispatchKeySet kKeys(c10::DispatchKey::CUDA);

void check_dense_options(optional<c10::Layout> layout, optional<bool> pin_memory) {
  TORCH_CHECK(c10::layout_or_default(layout) == c10::kStrided,
              "fake torch: only strided tensors are supported");
  TORCH_CHECK(!c10::pinned_memory_or_default(pin_memory), "Only dense CPU tensors can be pinned");
}

c10::Device device_wanted(optional<c10::Device> device) {
  return with_index(device.value_or(c10::Device(c10::kCUDA)));
}

}  // namespace

Tensor empty(IntArrayRef sizes, optional<at::ScalarType> type, optional<c10::Layout> layout,
             optional<c10::Device> device, optional<bool> pin_memory,
             optional<c10::MemoryFormat> format) {
  check_dense_options(layout, pin_memory);
  const c10::DeviceGuard on(device_wanted(device));
  return Tensor(at::detail::empty_generic(sizes, device_allocator(), kKeys,
                                          c10::dtype_or_default(type), format));
}

Tensor empty_strided(IntArrayRef sizes, IntArrayRef strides, optional<at::ScalarType> type,
                     optional<c10::Layout> layout, optional<c10::Device> device,
                     optional<bool> pin_memory) {
  check_dense_options(layout, pin_memory);
  const c10::DeviceGuard on(device_wanted(device));
  return Tensor(at::detail::empty_strided_generic(sizes, strides, device_allocator(), kKeys,
                                                  c10::dtype_or_default(type)));
}

const Tensor& resize_(const Tensor& self, IntArrayRef sizes, optional<c10::MemoryFormat> format) {
  TORCH_CHECK(!format || *format == c10::MemoryFormat::Contiguous,
              "fake torch: resize_ keeps the contiguous format only");
  if (self.sizes() == sizes) return self;
  grow(self.storage(),
       at::detail::computeStorageNbytesContiguous(sizes, self.dtype().itemsize(),
                                                  static_cast<size_t>(self.storage_offset())));
  self.unsafeGetTensorImpl()->set_sizes_contiguous(sizes);
  return self;
}

Tensor& set_storage(Tensor& self, c10::Storage storage, int64_t offset, IntArrayRef sizes,
                    IntArrayRef strides) {
  at::native::checkSetStorage(self, storage, offset, sizes, strides);
  at::native::setStrided(self, sizes, strides, offset);
  return self;
}

Tensor& set_whole_storage(Tensor& self, c10::Storage storage) {
  const auto count = static_cast<int64_t>(storage.nbytes() / self.dtype().itemsize());
  return set_storage(self, storage, 0, {count}, {1});
}

Tensor& set_tensor(Tensor& self, const Tensor& source) {
  if (self.is_same(source)) return self;
  return set_storage(self, source.storage(), source.storage_offset(), source.sizes(),
                     source.strides());
}

namespace {

// Only tensors of the same type and layout can be copied between host and device as they are.
bool have_same_bytes(const Tensor& a, const Tensor& b) {
  return a.scalar_type() == b.scalar_type() && a.strides() == b.strides() &&
         a.is_non_overlapping_and_dense();
}

void copy_on_device(const Tensor& to, const Tensor& from) {
  const c10::Stream stream = current_stream(to.device().index());
  wait_for(stream);
  if (from.device() != to.device()) wait_for(current_stream(from.device().index()));
  cpu_tensor_over(to).copy_(cpu_tensor_over(from));
  hide_until_due(to, stream);
}

void copy_from_host(const Tensor& to, const Tensor& from, bool non_blocking) {
  const c10::DeviceGuard on(to.device());
  const c10::Stream stream = current_stream(to.device().index());
  const bool pinned = is_pinned(from.storage().data());
  if (!non_blocking) note_host_sync("a blocking copy from the host");
  if (non_blocking && !pinned) note_host_sync("a copy from the host's pageable memory");
  FAKE_TORCH_CHECK(cudaMemcpyAsync(to.data_ptr(), from.const_data_ptr(), to.nbytes(),
                                   cudaMemcpyHostToDevice, handle_of(stream)));
  if (!non_blocking) return wait_for(stream);
  if (pinned) record_stream(from.storage().data(), stream);
}

void copy_to_host(const Tensor& to, const Tensor& from, bool non_blocking) {
  const c10::DeviceGuard on(from.device());
  const c10::Stream stream = current_stream(from.device().index());
  const bool waits = !non_blocking || !is_pinned(to.storage().data());
  if (waits) {
    note_host_sync("a copy to the host");
  } else {
    note_host_read();
  }
  FAKE_TORCH_CHECK(cudaMemcpyAsync(to.data_ptr(), from.const_data_ptr(), to.nbytes(),
                                   cudaMemcpyDeviceToHost, handle_of(stream)));
  if (waits) return wait_for(stream);
  record_stream(to.storage().data(), stream);
}

}  // namespace

// LibTorch's semantics: `self` keeps type, device and layout, and `source` is broadcast to it.
Tensor& copy_(Tensor& self, const Tensor& source, bool non_blocking) {
  const at::AutoDispatchBelowADInplaceOrView below_autograd;
  if (self.is_same(source)) return self;
  const Tensor from = source.expand(self.sizes());
  if (self.numel() == 0) return self;
  if (self.is_cuda() && from.is_cuda()) {
    copy_on_device(self, from);
  } else if (!have_same_bytes(self, from)) {
    const Tensor same_type = from.to(self.scalar_type()).contiguous();
    if (self.is_contiguous()) {
      copy_(self, same_type, non_blocking);
    } else {
      Tensor on_other_side = at::empty(self.sizes(), self.options());
      copy_(on_other_side, same_type, non_blocking);
      self.copy_(on_other_side);
    }
  } else if (self.is_cuda()) {
    copy_from_host(self, from, non_blocking);
  } else {
    copy_to_host(self, from, non_blocking);
  }
  return self;
}

at::Scalar item(const Tensor& self) {
  note_host_sync("item()");
  wait_for(current_stream(self.device().index()));
  const at::AutoDispatchBelowADInplaceOrView below_autograd;
  return cpu_tensor_over(self).item();
}

void record_stream_of(Tensor& self, c10::Stream stream) {
  record_stream(self.storage().data(), stream);
}

}  // namespace molora::fake_torch
