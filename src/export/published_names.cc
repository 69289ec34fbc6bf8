#include "export/published_names.h"

#include <ATen/core/grad_mode.h>
#include <fmt/format.h>

#include "base/check.h"
#include "base/error.h"
#include "base/nearest_name.h"

namespace molora {

namespace {

const char* prefix_of(PublishedForm form) {
  switch (form) {
    case PublishedForm::kMing:
      return "base_model.model.model.";
    case PublishedForm::kMixlora:
      return "mixlora.";
    case PublishedForm::kMola:
      return "mola.";
  }
  return "";
}

// MoE-PEFT writes the base's output matrix as well, and does not read it.
constexpr char kOutputMatrix[] = "lm_head_.weight";

PublishedForm form_of(const std::map<std::string, Tensor>& tensors) {
  for (const PublishedForm form : {PublishedForm::kMixlora, PublishedForm::kMola}) {
    const auto first = tensors.lower_bound(prefix_of(form));
    if (first != tensors.end() && first->first.starts_with(prefix_of(form))) return form;
  }
  return PublishedForm::kMing;
}

bool is_router(const Parameter& parameter) {
  return parameter.name.find(".router.") != std::string::npos;
}

std::string text_of(at::IntArrayRef shape) { return fmt::format("[{}]", fmt::join(shape, ", ")); }

// A published tensor: one expert of a stacked parameter, or all of a router's.
struct PublishedPart {
  std::string name;
  std::vector<int64_t> shape;
  bool is_transposed = false;  // published as [columns, r], ours [r, columns]
};

std::string expert_name(const std::string& base, int64_t expert, const std::string& kind,
                        PublishedForm form) {
  return form == PublishedForm::kMing
             ? fmt::format("{}.experts.{}.{}_{}.weight", base, expert, kind, expert)
             : fmt::format("{}.experts.{}.{}.weight", base, expert, kind);
}

// Those of the whole parameter: by expert for A and B, one for a router's; none for what the form
// does not have.
std::vector<PublishedPart> parts_of(const LinearAdapter& linear, const Parameter& parameter,
                                    PublishedForm form) {
  const std::string path = is_router(parameter) ? linear.router_path() : linear.path;
  const std::string base = prefix_of(form) + path;
  const std::string kind = parameter.name.substr(path.size() + 1);
  const std::vector<int64_t>& shape = parameter.global_shape;
  const bool is_ming = form == PublishedForm::kMing;
  if (kind == "router.weight")
    return {{base + (is_ming ? ".switch" : ".moe_gate") + ".weight", shape}};
  if (kind == "router.bias" && !is_ming) return {};
  if (kind == "magnitude") return {{base + ".lora_magnitude_vector", shape}};
  if (kind == "router.bias") return {{base + ".switch.bias", shape}};
  MOLORA_CHECK(kind == "lora_A" || kind == "lora_B", "{}", parameter.name);
  const bool is_b = kind == "lora_B";
  std::vector<PublishedPart> parts;
  for (int64_t e = 0; e < shape[0]; ++e) {
    const std::string name = linear.spec.kind == TargetsConfig::lora
                                 ? fmt::format("{}.{}.weight", base, kind)
                                 : expert_name(base, e, kind, form);
    parts.push_back(
        {name, is_b ? std::vector{shape[2], shape[1]} : std::vector{shape[1], shape[2]}, is_b});
  }
  return parts;
}

// Published as it is, not by expert.
bool is_one_tensor(const Parameter& parameter) {
  return is_router(parameter) || parameter.name.ends_with(".magnitude");
}

// This rank's slice of a parameter out of the tensors of the whole.
void load_slice(const std::vector<PublishedPart>& parts,
                const std::map<std::string, Tensor>& tensors, const Parameter& parameter) {
  const Tensor& value = parameter.value;
  if (parts.empty()) {
    Tensor(value).zero_();
    return;
  }
  const auto columns = [&](const Tensor& whole) {
    return whole.slice(-1, parameter.offset.back(), parameter.offset.back() + value.size(-1));
  };
  if (is_one_tensor(parameter)) {
    Tensor(value).copy_(columns(tensors.at(parts.front().name)));
    return;
  }
  for (int64_t e = 0; e < value.size(0); ++e) {
    const PublishedPart& part = parts[static_cast<size_t>(parameter.offset[0] + e)];
    const Tensor& whole = tensors.at(part.name);
    value.select(0, e).copy_(columns(part.is_transposed ? whole.t() : whole));
  }
}

}  // namespace

std::vector<PublishedTensor> to_published(const LinearAdapter& linear, const Parameter& parameter,
                                          const Tensor& value, PublishedForm form) {
  MOLORA_CHECK(value.sizes() == at::IntArrayRef(parameter.global_shape),
               "{}: a slice, not the whole tensor", parameter.name);
  const std::vector<PublishedPart> parts = parts_of(linear, parameter, form);
  if (parts.empty()) return {};
  if (is_one_tensor(parameter)) return {{parts.front().name, value}};
  std::vector<PublishedTensor> result;
  for (size_t e = 0; e < parts.size(); ++e) {
    const Tensor expert = value.select(0, static_cast<int64_t>(e));
    result.push_back({parts[e].name, parts[e].is_transposed ? expert.t() : expert});
  }
  return result;
}

const LinearAdapter& linear_of(const AdapterSet& adapters, const Parameter& parameter) {
  for (const LinearAdapter& linear : adapters.linears()) {
    const bool is_its_router =
        linear.spec.has_router() && parameter.name.starts_with(linear.router_path() + ".router.");
    if (is_its_router || parameter.name.starts_with(linear.path + ".")) return linear;
  }
  MOLORA_CHECK(false, "parameter {} belongs to no linear", parameter.name);
  return adapters.linears().front();
}

std::vector<PublishedTensor> to_published(const AdapterSet& adapters, PublishedForm form) {
  std::vector<PublishedTensor> result;
  for (const Parameter& parameter : adapters.parameters()) {
    const auto part =
        to_published(linear_of(adapters, parameter), parameter, parameter.value.detach(), form);
    result.insert(result.end(), part.begin(), part.end());
  }
  return result;
}

void load_published(const std::map<std::string, Tensor>& tensors, const std::string& origin,
                    AdapterSet& adapters) {
  const PublishedForm form = form_of(tensors);
  std::map<std::string, Tensor> left_over = tensors;
  if (form != PublishedForm::kMing) left_over.erase(kOutputMatrix);
  std::vector<std::vector<PublishedPart>> wanted;
  for (const Parameter& parameter : adapters.parameters()) {
    wanted.push_back(parts_of(linear_of(adapters, parameter), parameter, form));
    for (const PublishedPart& part : wanted.back()) left_over.erase(part.name);
  }
  std::vector<std::string> left_over_names;
  left_over_names.reserve(left_over.size());
  for (const auto& [name, tensor] : left_over) left_over_names.push_back(name);

  for (const auto& parts : wanted) {
    for (const PublishedPart& part : parts) {
      const auto found = tensors.find(part.name);
      if (found == tensors.end()) {
        const std::string nearest = nearest_name(part.name, left_over_names);
        throw DataError(fmt::format("{}: tensor {} {} is missing{}", origin, part.name,
                                    text_of(part.shape),
                                    nearest.empty() ? "" : "; nearest: " + nearest));
      }
      if (found->second.sizes() != at::IntArrayRef(part.shape)) {
        throw DataError(
            fmt::format("{}: tensor {} has shape {}, the adapter's configuration asks for {}",
                        origin, part.name, text_of(found->second.sizes()), text_of(part.shape)));
      }
    }
  }
  if (!left_over.empty()) {
    throw DataError(fmt::format("{}: tensor {} has no place in this adapter ({} such tensors)",
                                origin, left_over_names.front(), left_over_names.size()));
  }
  const at::NoGradGuard no_grad;
  for (size_t i = 0; i < wanted.size(); ++i) {
    load_slice(wanted[i], tensors, adapters.parameters()[i]);
  }
}

}  // namespace molora
