#include "export/published_names.h"

#include <ATen/core/grad_mode.h>
#include <fmt/format.h>

#include "base/check.h"
#include "base/error.h"
#include "base/nearest_name.h"

namespace molora {

namespace {

constexpr char kPrefix[] = "base_model.model.model.";

const LinearAdapter& linear_of(const AdapterSet& adapters, const Parameter& parameter) {
  for (const LinearAdapter& linear : adapters.linears()) {
    if (parameter.name.starts_with(linear.path + ".")) return linear;
  }
  MOLORA_CHECK(false, "parameter {} belongs to no linear", parameter.name);
  return adapters.linears().front();
}

std::string text_of(at::IntArrayRef shape) { return fmt::format("[{}]", fmt::join(shape, ", ")); }

}  // namespace

std::vector<PublishedTensor> to_published(const LinearAdapter& linear, const Parameter& parameter,
                                          const Tensor& value) {
  const std::string base = kPrefix + linear.path;
  const std::string kind = parameter.name.substr(linear.path.size() + 1);
  if (kind == "router.weight") return {{base + ".switch.weight", value}};
  if (kind == "router.bias") return {{base + ".switch.bias", value}};
  MOLORA_CHECK(kind == "lora_A" || kind == "lora_B", "{}", parameter.name);
  const bool is_a = kind == "lora_A";
  std::vector<PublishedTensor> result;
  for (int64_t e = 0; e < value.size(0); ++e) {
    const Tensor slice = is_a ? value.select(0, e) : value.select(0, e).t();
    const std::string name = linear.spec.kind == TargetsConfig::lora
                                 ? fmt::format("{}.{}.weight", base, kind)
                                 : fmt::format("{}.experts.{}.{}_{}.weight", base, e, kind, e);
    result.push_back({name, slice});
  }
  return result;
}

std::vector<PublishedTensor> to_published(const AdapterSet& adapters) {
  std::vector<PublishedTensor> result;
  for (const Parameter& parameter : adapters.parameters()) {
    const auto part =
        to_published(linear_of(adapters, parameter), parameter, parameter.value.detach());
    result.insert(result.end(), part.begin(), part.end());
  }
  return result;
}

void load_published(const std::map<std::string, Tensor>& tensors, const std::string& origin,
                    AdapterSet& adapters) {
  const std::vector<PublishedTensor> targets = to_published(adapters);
  std::map<std::string, Tensor> left_over = tensors;
  for (const PublishedTensor& target : targets) left_over.erase(target.name);
  std::vector<std::string> left_over_names;
  left_over_names.reserve(left_over.size());
  for (const auto& [name, tensor] : left_over) left_over_names.push_back(name);

  for (const PublishedTensor& target : targets) {
    const auto found = tensors.find(target.name);
    if (found == tensors.end()) {
      const std::string nearest = nearest_name(target.name, left_over_names);
      throw DataError(fmt::format("{}: tensor {} {} is missing{}", origin, target.name,
                                  text_of(target.value.sizes()),
                                  nearest.empty() ? "" : "; nearest: " + nearest));
    }
    if (found->second.sizes() != target.value.sizes()) {
      throw DataError(
          fmt::format("{}: tensor {} has shape {}, the adapter's configuration asks for {}", origin,
                      target.name, text_of(found->second.sizes()), text_of(target.value.sizes())));
    }
  }
  if (!left_over.empty()) {
    throw DataError(fmt::format("{}: tensor {} has no place in this adapter ({} such tensors)",
                                origin, left_over_names.front(), left_over_names.size()));
  }
  const at::NoGradGuard no_grad;
  for (const PublishedTensor& target : targets) target.value.copy_(tensors.at(target.name));
}

}  // namespace molora
