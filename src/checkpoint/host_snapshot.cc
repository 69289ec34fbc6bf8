#include "checkpoint/host_snapshot.h"

#include <ATen/core/grad_mode.h>

#include "checkpoint/step_folder.h"
#include "device/compute_device.h"
#include "tensor/tensor_bytes.h"

namespace molora {

namespace {

SnapshotTensor snapshot_of(const TensorSlice& slice, const std::string& file) {
  SnapshotTensor tensor;
  TensorRecord& record = tensor.record;
  record.set_name(slice.name);
  record.set_dtype(std::string(dtype_name(stored_dtype(slice.type))));
  record.mutable_global_shape()->Assign(slice.global_shape.begin(), slice.global_shape.end());
  record.mutable_offset()->Assign(slice.offset.begin(), slice.offset.end());
  const auto sizes = slice.value.sizes();
  record.mutable_shape()->Assign(sizes.begin(), sizes.end());
  record.set_file(file);
  tensor.source = slice.value.detach();
  // Of a GPU's tensor in page-locked memory, which the GPU copies to beside its work.
  tensor.copy = at::zeros(sizes, at::TensorOptions().dtype(slice.type));
  if (!tensor.source.is_cpu()) tensor.copy = tensor.copy.pin_memory();
  return tensor;
}

}  // namespace

HostSnapshot::HostSnapshot(const TrainingState& state, const SavePlan& plan, int rank) {
  add_file(part_file_name("adapter", rank), state.adapter, plan.adapter());
  add_file(part_file_name("optimizer", rank), state.optimizer, plan.optimizer());
}

void HostSnapshot::add_file(const std::string& name, const std::vector<TensorSlice>& slices,
                            const std::vector<size_t>& indices) {
  if (indices.empty()) return;
  SnapshotFile& file = files_.emplace_back();
  file.name = name;
  for (const size_t index : indices) {
    file.tensors.push_back(snapshot_of(slices[index], name));
    bytes_ += file.tensors.back().copy.nbytes();
  }
}

void HostSnapshot::take() {
  const at::NoGradGuard no_grad;
  at::Device device = at::kCPU;
  for (SnapshotFile& file : files_) {
    for (SnapshotTensor& tensor : file.tensors) {
      tensor.copy.copy_(tensor.source, /*non_blocking=*/true);
      if (!tensor.source.is_cpu()) device = tensor.source.device();
    }
  }
  finish_work(device);  // once for all of them: the next step changes what was copied
}

}  // namespace molora
