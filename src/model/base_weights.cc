#include "model/base_weights.h"

#include <cmath>
#include <utility>

#include <fmt/format.h>

#include "base/check.h"
#include "device/compute_device.h"
#include "io/digest.h"
#include "model/expected_tensors.h"
#include "model/quantized_weight.h"
#include "tensor/philox_tensor.h"
#include "tensor/tensor_bytes.h"

namespace molora {

namespace {

Tensor random_slice(const ExpectedTensor& tensor, const Shape& shape, uint64_t key) {
  if (tensor.shape.size() == 1) {
    return tensor.name.find("norm") == std::string::npos ? at::zeros(shape) : at::ones(shape);
  }
  Tensor slice = at::empty(shape);
  fill_uniform(slice, std::sqrt(3.0 / static_cast<double>(tensor.shape[1])), key, 0);
  return slice;
}

}  // namespace

BaseWeights::BaseWeights(const WeightFiles& files, const WeightStorage& storage, int64_t tp,
                         int64_t tp_rank, std::string fingerprint)
    : fingerprint_(std::move(fingerprint)), stored_bytes_(files.stored_bytes()) {
  const std::vector<ExpectedTensor>& expected = files.expected();
  std::vector<Tensor> slices(expected.size());
  std::vector<std::optional<QuantizedMatrix>> quantized(expected.size());
  const auto load = [&](size_t i, const ReadBuffer& buffer) {
    const TensorBox box = held_box(files.architecture(), expected[i], tp, tp_rank);
    const StoredTensor& stored = files.at(expected[i].name);
    if (storage.linears && expected[i].is_linear_weight) {
      quantized[i] =
          on_device(load_quantized(stored, box, *storage.linears, buffer), storage.device);
    } else {
      slices[i] = load_box(stored, box, storage.type, buffer).to(storage.device);
    }
  };
  if (storage.device.is_cpu()) {
    for_each_on_threads(expected.size(), load);
  } else {  // what goes to a GPU is given to it by one thread
    const ReadBuffer buffer;
    for (size_t i = 0; i < expected.size(); ++i) load(i, buffer);
  }
  for (size_t i = 0; i < expected.size(); ++i) {
    if (quantized[i]) {
      keep(expected[i].name, *quantized[i]);
    } else {
      keep(expected[i].name, slices[i]);
    }
  }
}

BaseWeights::BaseWeights(const WeightFiles& files, at::ScalarType compute_type)
    : BaseWeights(files, WeightStorage{compute_type}, 1, 0,
                  files.fingerprint({files.check_contents(0, 1)})) {}

BaseWeights::BaseWeights(const std::filesystem::path& folder, const Architecture& architecture,
                         at::ScalarType compute_type)
    : BaseWeights(WeightFiles(folder, architecture), compute_type) {}

BaseWeights::BaseWeights(const Architecture& architecture, const Random& random)
    : fingerprint_("random") {
  uint64_t key = static_cast<uint64_t>(random.tp_rank) << 32;
  for (const ExpectedTensor& tensor : expected_tensors(architecture)) {
    const TensorBox box = held_box(architecture, tensor, random.tp, random.tp_rank);
    const Tensor slice = random_slice(tensor, box.shape, ++key);
    if (random.storage.linears && tensor.is_linear_weight) {
      keep(tensor.name, on_device(quantize(slice, *random.storage.linears), random.storage.device));
    } else {
      keep(tensor.name, slice.to(random.storage.device, random.storage.type));
    }
  }
  stored_bytes_ = kept_bytes_;
}

void BaseWeights::keep(const std::string& name, const Tensor& slice) {
  kept_bytes_ += static_cast<int64_t>(slice.nbytes());
  tensors_[name] = slice;
}

void BaseWeights::keep(const std::string& name, const QuantizedMatrix& slice) {
  kept_bytes_ += slice.bytes();
  quantized_[name] = slice;
}

Tensor BaseWeights::get(const std::string& name) const {
  MOLORA_CHECK(quantized_.count(name) == 0, "{} is quantised", name);
  const auto found = tensors_.find(name);
  return found == tensors_.end() ? Tensor() : found->second;
}

std::optional<QuantizedMatrix> BaseWeights::quantized(const std::string& name) const {
  const auto found = quantized_.find(name);
  if (found == quantized_.end()) return std::nullopt;
  return found->second;
}

std::string BaseWeights::memory_fingerprint() const {
  std::string text;
  const auto add = [&text](const std::string& name, const Tensor& tensor) {
    text += fmt::format("{} {}\n", name, xxh3_hex(tensor_bytes(to_host(tensor))));
  };
  for (const auto& [name, tensor] : tensors_) add(name, tensor);
  for (const auto& [name, matrix] : quantized_) {
    add(name + " codes", matrix.codes);
    add(name + " scales", matrix.scales_RB);
  }
  return xxh3_hex(std::as_bytes(std::span(text.data(), text.size())));
}

}  // namespace molora
