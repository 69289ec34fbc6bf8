#include "export/logits_check.h"

#include <limits>
#include <memory>
#include <span>

#include <ATen/core/grad_mode.h>
#include <fmt/format.h>

#include "base/check.h"
#include "base/error.h"
#include "device/compute_device.h"
#include "io/safetensors.h"
#include "tensor/tensor_bytes.h"

namespace molora {

namespace {

constexpr char kLogits[] = "logits";

std::string ids_name(size_t prompt) { return fmt::format("ids.{}", prompt); }

Tensor read_tensor(const std::shared_ptr<const SafetensorsFile>& file, const std::string& name,
                   DType dtype, size_t dims) {
  const TensorEntry& entry = file->at(name);
  if (entry.dtype != dtype || entry.shape.size() != dims) {
    throw DataError(fmt::format("{}: tensor {}: expected {} of {} dimensions, got {} {}",
                                file->path().string(), name, dtype_name(dtype), dims,
                                dtype_name(entry.dtype), shape_text(entry.shape)));
  }
  return mapped_tensor(file, entry);
}

}  // namespace

LogitsCheck make_logits_check(const CausalLM& model,
                              const std::vector<std::vector<int32_t>>& prompts, int64_t task) {
  const at::NoGradGuard no_grad;
  std::vector<int64_t> samples;
  std::vector<int64_t> last_tokens;
  int64_t end = 0;
  for (const auto& prompt : prompts) {
    MOLORA_CHECK(!prompt.empty());
    samples.push_back(std::ssize(samples));
    end += std::ssize(prompt);
    last_tokens.push_back(end - 1);
  }
  const TokenBatch batch =
      on_device(make_token_batch(prompts, samples, {}, std::vector<int64_t>(prompts.size(), task)),
                model.device());
  const ForwardContext context{.batch = batch};
  const Tensor hidden_TD = model.hidden_states(context);
  const Tensor states_PD =
      model.head_states(hidden_TD, at::tensor(last_tokens, at::kLong), context);
  return {prompts, to_host(model.logits(states_PD)).to(at::kFloat).contiguous()};
}

void write_logits_check(const LogitsCheck& check, const std::filesystem::path& folder) {
  std::vector<SafetensorsDeclaration> declarations = {
      {kLogits, DType::kF32, check.logits_PV.sizes().vec()}};
  for (size_t i = 0; i < check.prompts.size(); ++i) {
    declarations.push_back({ids_name(i), DType::kI32, {std::ssize(check.prompts[i])}});
  }
  SafetensorsWriter writer(folder / kLogitsCheckName, std::move(declarations), {});
  writer.write_next(tensor_bytes(check.logits_PV));
  for (const auto& prompt : check.prompts) writer.write_next(std::as_bytes(std::span(prompt)));
  writer.finish();
}

LogitsCheck read_logits_check(const std::filesystem::path& folder) {
  const auto file = std::make_shared<const SafetensorsFile>(folder / kLogitsCheckName);
  LogitsCheck check;
  check.logits_PV = read_tensor(file, kLogits, DType::kF32, 2);
  for (int64_t i = 0; i < check.logits_PV.size(0); ++i) {
    const Tensor ids = read_tensor(file, ids_name(static_cast<size_t>(i)), DType::kI32, 1);
    const auto numbers = elements<int32_t>(ids);
    check.prompts.emplace_back(numbers.begin(), numbers.end());
  }
  return check;
}

double logits_difference(const Tensor& expected_PV, const Tensor& found_PV) {
  MOLORA_CHECK(expected_PV.sizes() == found_PV.sizes());
  const Tensor expected = expected_PV.to(at::kDouble);
  const Tensor spread_P = expected.std(1, /*unbiased=*/false).clamp_min(1e-30);
  const Tensor largest_P = (found_PV.to(at::kDouble) - expected).abs().amax(1);
  const Tensor share_P = largest_P / spread_P;
  // What is not a number is no agreement.
  return share_P.isfinite().all().item<bool>() ? share_P.max().item<double>()
                                               : std::numeric_limits<double>::infinity();
}

}  // namespace molora
