// Proof that an export means what the run meant: logits of fixed prompts, kept beside it and
// computed again by a fresh process that knows the export alone.
#pragma once

#include <cstdint>
#include <filesystem>
#include <string>
#include <string_view>
#include <vector>

#include <ATen/ATen.h>

#include "model/decoder.h"

namespace molora {

using at::Tensor;

constexpr std::string_view kLogitsCheckName = "molora_check.safetensors";

struct LogitsCheck {
  std::vector<std::vector<int32_t>> prompts;  // token ids, none empty
  Tensor logits_PV;                           // after the last token of each, fp32
};

// Collective as CausalLM::logits(). task: of adapters that route by task.
// REQUIRES: no prompt is longer than the model's max_position.
LogitsCheck make_logits_check(const CausalLM& model,
                              const std::vector<std::vector<int32_t>>& prompts, int64_t task = -1);

// Throws: IoError.
void write_logits_check(const LogitsCheck& check, const std::filesystem::path& folder);
// Throws: DataError, IoError.
LogitsCheck read_logits_check(const std::filesystem::path& folder);

// The largest difference of two logits of the same prompt and token, as a share of the spread (the
// standard deviation) of the expected logits of that prompt. REQUIRES: the same prompts and sizes.
double logits_difference(const Tensor& expected_PV, const Tensor& found_PV);

}  // namespace molora
