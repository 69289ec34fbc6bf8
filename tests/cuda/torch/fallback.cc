// Every operator of the device for which this library has nothing of its own: the CPU kernel on the
// same memory.
//
// Arguments: tensors of the device become CPU tensors over their memory, and a device becomes the
// CPU. Results: what lies in the memory of an argument is that argument (in-place, out=) or a view
// of it; all else gets device memory of its own.

#include <algorithm>
#include <cstdlib>
#include <string>
#include <unordered_map>
#include <unordered_set>
#include <utility>
#include <vector>

#include <ATen/ATen.h>
#include <ATen/core/LegacyTypeDispatch.h>
#include <ATen/core/dispatch/Dispatcher.h>
#include <c10/core/DeviceGuard.h>

#include "cpu_call.h"
#include "host_syncs.h"
#include "operators.h"
#include "runtime_call.h"
#include "stack_report.h"
#include "streams.h"

namespace molora::fake_torch {

namespace {

using c10::IValue;
using torch::jit::Stack;

// Operators that take tensors of the CPU beside those of the device. Pointwise operators do too,
// but only of no dimensions.
bool takes_cpu_scalars(const c10::OperatorHandle& op) {
  static const std::unordered_set<std::string> others = {
      "aten::fill_",         "aten::fill",          "aten::masked_fill_", "aten::masked_fill",
      "aten::index_fill_",   "aten::index_fill",    "aten::where",        "aten::lerp",
      "aten::_foreach_mul_", "aten::_foreach_add_", "aten::_foreach_div_"};
  return op.hasTag(at::Tag::pointwise) || others.count(op.schema().name()) > 0;
}

bool takes_cpu_indices(const std::string& name) {
  return name == "aten::index" || name == "aten::_index_put_impl_" ||
         name == "aten::_index_put_impl" || name == "aten::_unsafe_index";
}

bool is_mask(const Tensor& tensor) {
  return tensor.defined() &&
         (tensor.scalar_type() == at::kBool || tensor.scalar_type() == at::kByte);
}

// With FAKE_TORCH_MIXED=warn, tensors of the CPU beside those of the device are told of and taken:
// all places that must still be moved to the device show in one run.
bool is_told_mixed_devices(const std::string& name) {
  static const char* wanted = std::getenv("FAKE_TORCH_MIXED");
  if (wanted == nullptr || std::string(wanted) != "warn") return false;
  report_with_stack(name + " has tensors of the CPU and of the device");
  return true;
}

// One operator call on its way through the CPU.
class CpuCall {
 public:
  CpuCall(const c10::OperatorHandle& op, Stack& stack) : op_(op), stack_(stack) {}

  void run();

 private:
  struct Argument {
    Tensor original;
    Tensor alias;
    bool is_written = false;
  };

  void find_device();
  void see(const Tensor& tensor);
  void refuse_random_numbers() const;
  bool is_view() const;
  void count_host_waits() const;
  bool has_index_off_the_device() const;
  void replace_arguments();
  IValue to_cpu(const IValue& value, bool is_written);
  Tensor to_cpu(const Tensor& tensor, bool is_written);
  void check_on_device(const Tensor& tensor) const;
  void keep_new_sizes(const Argument& argument);
  void replace_results();
  IValue to_device(const IValue& value);
  Tensor to_device(const Tensor& tensor);
  c10::Stream stream() const { return current_stream(device_.index()); }

  const c10::OperatorHandle& op_;
  Stack& stack_;
  c10::Device device_{c10::kCPU};
  std::vector<Argument> arguments_;
  std::unordered_map<const c10::TensorImpl*, size_t> by_original_;
  std::unordered_map<const c10::TensorImpl*, size_t> by_alias_;
  std::unordered_map<const c10::StorageImpl*, c10::Storage> cpu_storages_;  // by that of the device
  std::unordered_map<const c10::StorageImpl*, Tensor> owners_;              // by CPU storage
};

template <typename F>
void for_each_tensor(const IValue& value, const F& f) {
  if (value.isTensor()) {
    f(value.toTensor());
  } else if (value.isTensorList()) {
    for (const Tensor& tensor : value.toTensorVector()) f(tensor);
  } else if (value.isOptionalTensorList()) {
    for (const std::optional<Tensor>& tensor : value.toOptionalTensorVector()) {
      if (tensor) f(*tensor);
    }
  }
}

void CpuCall::see(const Tensor& tensor) {
  if (tensor.defined() && tensor.is_cuda() && device_.is_cpu()) device_ = tensor.device();
}

// The device of the first tensor that is on one, else what is asked for.
void CpuCall::find_device() {
  const auto values = torch::jit::last(stack_, op_.schema().arguments().size());
  for (const IValue& value : values) {
    for_each_tensor(value, [this](const Tensor& tensor) { see(tensor); });
  }
  if (!device_.is_cpu()) return;
  for (const IValue& value : values) {
    if (value.isDevice() && value.toDevice().is_cuda()) device_ = value.toDevice();
  }
  device_ = with_index(device_.is_cpu() ? c10::Device(c10::kCUDA) : device_);
}

bool CpuCall::has_index_off_the_device() const {
  bool found = false;
  const auto values = torch::jit::last(stack_, op_.schema().arguments().size());
  for (const IValue& value : values) {
    if (!value.isOptionalTensorList()) continue;
    for_each_tensor(value, [&](const Tensor& index) {
      found = found || is_mask(index) || (index.defined() && index.is_cpu());
    });
  }
  return found;
}

// On a GPU the host must know a number that the device computes before it can go on.
void CpuCall::count_host_waits() const {
  const std::string& name = op_.schema().name();
  if (takes_cpu_indices(name)) {
    if (has_index_off_the_device())
      note_host_sync((name + " with a mask or an index on the CPU").c_str());
    return;
  }
  if (name == "aten::repeat_interleave" && !torch::jit::last(stack_, 1)[0].isNone()) return;
  if (name == "aten::_unique" || op_.hasTag(at::Tag::dynamic_output_shape) ||
      op_.hasTag(at::Tag::data_dependent_output)) {
    note_host_sync(name.c_str());
  }
  if (name == "aten::_grouped_mm" &&
      torch::jit::peek(stack_, 0, op_.schema().arguments().size()).toTensor().scalar_type() !=
          at::kBFloat16) {
    note_host_sync("aten::_grouped_mm of a type other than bfloat16");
  }
}

void CpuCall::check_on_device(const Tensor& tensor) const {
  if (tensor.device() == device_) return;
  const std::string& name = op_.schema().name();
  if (tensor.is_cpu()) {
    if (tensor.dim() == 0 && takes_cpu_scalars(op_)) return;
    if (takes_cpu_indices(name)) return;
  }
  if (tensor.is_cpu() && is_told_mixed_devices(name)) return;
  TORCH_CHECK(false,
              "Expected all tensors to be on the same device, but found at least two devices, ",
              device_, " and ", tensor.device(), "! (in ", name, ")");
}

Tensor CpuCall::to_cpu(const Tensor& tensor, bool is_written) {
  if (!tensor.defined()) return tensor;
  check_on_device(tensor);
  if (tensor.is_cpu()) return tensor;
  const auto [known, is_new] =
      by_original_.emplace(tensor.unsafeGetTensorImpl(), arguments_.size());
  if (is_new) {
    c10::Storage& storage = cpu_storages_[tensor.storage().unsafeGetStorageImpl()];
    if (!storage) {
      storage = cpu_storage_over(tensor.storage());
      owners_.emplace(storage.unsafeGetStorageImpl(), tensor);
    }
    const Tensor alias = cpu_tensor_over(tensor, storage);
    by_alias_.emplace(alias.unsafeGetTensorImpl(), arguments_.size());
    arguments_.push_back({tensor, alias, false});
  }
  Argument& argument = arguments_[known->second];
  argument.is_written = argument.is_written || is_written;
  return argument.alias;
}

IValue CpuCall::to_cpu(const IValue& value, bool is_written) {
  if (value.isTensor()) return to_cpu(value.toTensor(), is_written);
  if (value.isTensorList()) {
    c10::List<Tensor> list;
    for (const Tensor& tensor : value.toTensorVector()) list.push_back(to_cpu(tensor, is_written));
    return list;
  }
  if (value.isOptionalTensorList()) {
    c10::List<std::optional<Tensor>> list;
    for (const std::optional<Tensor>& tensor : value.toOptionalTensorVector()) {
      list.push_back(tensor ? std::optional<Tensor>(to_cpu(*tensor, is_written)) : std::nullopt);
    }
    return list;
  }
  return value.isDevice() ? IValue(c10::Device(c10::kCPU)) : value;
}

// The numbers would be the CPU generator's, which no GPU gives.
void CpuCall::refuse_random_numbers() const {
  for (const c10::Argument& argument : op_.schema().arguments()) {
    TORCH_CHECK(argument.type()->str().find("Generator") == std::string::npos,
                "fake torch: ", op_.schema().name(),
                " takes a random generator, and the fake device has none");
  }
}

// Whether the results are memory of the arguments, seen in another way: there is nothing to
// compute.
bool CpuCall::is_view() const {
  const auto is_seen = [](const c10::Argument& argument) {
    return argument.alias_info() != nullptr && !argument.alias_info()->isWrite();
  };
  const auto& returns = op_.schema().returns();
  return !returns.empty() && std::all_of(returns.begin(), returns.end(), is_seen);
}

void CpuCall::replace_arguments() {
  const auto& declared = op_.schema().arguments();
  for (size_t i = 0; i < declared.size(); ++i) {
    const c10::AliasInfo* alias = declared[i].alias_info();
    IValue& value = torch::jit::peek(stack_, i, declared.size());
    value = to_cpu(value, alias != nullptr && alias->isWrite());
  }
}

// A kernel may have resized what it wrote to.
void CpuCall::keep_new_sizes(const Argument& argument) {
  const auto& [original, alias, is_written] = argument;
  if (alias.storage().data() != original.storage().data()) {
    const Tensor values = device_copy(alias, stream());
    c10::StorageImpl* storage = original.storage().unsafeGetStorageImpl();
    storage->set_data_ptr_noswap(
        std::move(values.storage().unsafeGetStorageImpl()->_mutable_data_ptr_no_checks()));
    storage->set_nbytes(values.storage().nbytes());
  } else {
    hide_until_due(original, stream());
  }
  if (alias.sizes() != original.sizes() || alias.strides() != original.strides()) {
    original.unsafeGetTensorImpl()->set_sizes_and_strides(alias.sizes(), alias.strides(),
                                                          alias.storage_offset());
  }
}

Tensor CpuCall::to_device(const Tensor& tensor) {
  if (!tensor.defined()) return tensor;
  const auto argument = by_alias_.find(tensor.unsafeGetTensorImpl());
  if (argument != by_alias_.end()) return arguments_[argument->second].original;
  const auto viewed = owners_.find(tensor.storage().unsafeGetStorageImpl());
  if (viewed == owners_.end()) return device_copy(tensor, stream());
  Tensor view = at::detail::make_tensor<c10::TensorImpl>(c10::TensorImpl::VIEW,
                                                         c10::Storage(viewed->second.storage()),
                                                         viewed->second.key_set(), tensor.dtype());
  view.unsafeGetTensorImpl()->set_sizes_and_strides(tensor.sizes(), tensor.strides(),
                                                    tensor.storage_offset());
  return view;
}

IValue CpuCall::to_device(const IValue& value) {
  if (value.isTensor()) return to_device(value.toTensor());
  if (!value.isTensorList()) return value;
  c10::List<Tensor> list;
  for (const Tensor& tensor : value.toTensorVector()) list.push_back(to_device(tensor));
  return list;
}

void CpuCall::replace_results() {
  const size_t count = op_.schema().returns().size();
  for (size_t i = 0; i < count; ++i) {
    IValue& value = torch::jit::peek(stack_, i, count);
    value = to_device(value);
  }
}

void CpuCall::run() {
  find_device();
  const c10::DeviceGuard on(device_);
  refuse_random_numbers();
  count_host_waits();
  replace_arguments();
  if (!is_view()) check_launch();
  if (!is_view()) wait_for(stream());
  {
    const at::AutoDispatchBelowADInplaceOrView below_autograd;
    op_.redispatchBoxed(c10::DispatchKeySet(c10::DispatchKey::CPU), &stack_);
  }
  for (const Argument& argument : arguments_) {
    if (argument.is_written) keep_new_sizes(argument);
  }
  replace_results();
}

}  // namespace

void run_on_cpu(const c10::OperatorHandle& op, Stack* stack) { CpuCall(op, *stack).run(); }

}  // namespace molora::fake_torch
