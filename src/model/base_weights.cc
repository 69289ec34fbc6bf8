#include "model/base_weights.h"

#include <utility>

#include <fmt/format.h>

#include "device/compute_device.h"
#include "io/digest.h"
#include "tensor/tensor_bytes.h"

namespace molora {

BaseWeights::BaseWeights(const WeightFiles& files, at::ScalarType compute_type, int64_t tp,
                         int64_t tp_rank, std::string fingerprint, at::Device device)
    : fingerprint_(std::move(fingerprint)), stored_bytes_(files.stored_bytes()) {
  const std::vector<ExpectedTensor>& expected = files.expected();
  std::vector<Tensor> slices(expected.size());
  const auto load = [&](size_t i, const ReadBuffer& buffer) {
    const TensorBox box = held_box(files.architecture(), expected[i], tp, tp_rank);
    slices[i] = load_box(files.at(expected[i].name), box, compute_type, buffer).to(device);
  };
  if (device.is_cpu()) {
    for_each_on_threads(expected.size(), load);
  } else {  // what goes to a GPU is given to it by one thread
    const ReadBuffer buffer;
    for (size_t i = 0; i < expected.size(); ++i) load(i, buffer);
  }
  for (size_t i = 0; i < expected.size(); ++i) {
    kept_bytes_ += static_cast<int64_t>(slices[i].nbytes());
    tensors_[expected[i].name] = slices[i];
  }
}

BaseWeights::BaseWeights(const WeightFiles& files, at::ScalarType compute_type)
    : BaseWeights(files, compute_type, 1, 0, files.fingerprint({files.check_contents(0, 1)})) {}

BaseWeights::BaseWeights(const std::filesystem::path& folder, const Architecture& architecture,
                         at::ScalarType compute_type)
    : BaseWeights(WeightFiles(folder, architecture), compute_type) {}

Tensor BaseWeights::get(const std::string& name) const {
  const auto found = tensors_.find(name);
  return found == tensors_.end() ? Tensor() : found->second;
}

std::string BaseWeights::memory_fingerprint() const {
  std::string text;
  for (const auto& [name, tensor] : tensors_) {
    text += fmt::format("{} {}\n", name, xxh3_hex(tensor_bytes(to_host(tensor))));
  }
  return xxh3_hex(std::as_bytes(std::span(text.data(), text.size())));
}

}  // namespace molora
