// The tables of `molora plan --gpus`.
#include <algorithm>

#include <fmt/format.h>
#include <fmt/ranges.h>

#include "base/unit_text.h"
#include "worker/gpu_plan.h"

namespace molora {

namespace {

std::string links_text(const GpuPlan& plan) {
  std::string text;
  for (const HardwareLink& link : plan.hardware.links()) {
    text += fmt::format("{}{}", text.empty() ? "; " : ", then ", link.name());
    if (link.ranks_per_domain() > 0) text += fmt::format(" in {}s", link.ranks_per_domain());
  }
  return text;
}

std::string heading(const GpuPlan& plan) {
  const RunConfig& config = plan.request.config;
  const AdapterConfig& adapter = config.adapter();
  return fmt::format(
      "{} ({:.2f} B parameters) on {} x {}\n"
      "{} of memory each{}\n"
      "a step: {} rows of {} tokens; {} experts, {} per token, lora_rank {}; {}{}\n"
      "expected, from figures of the hardware's file; {} layouts were compared\n",
      config.model().path(),
      static_cast<double>(count_base_parameters(plan.request.architecture)) * 1e-9,
      plan.request.num_gpus, plan.hardware.name(), bytes_text(plan.hardware.memory_bytes()),
      links_text(plan), grouped_digits(config.train().global_batch_size()),
      grouped_digits(plan.shown().input.row_tokens), adapter.num_experts(),
      adapter.experts_per_token(), adapter.lora_rank(),
      ModelConfig::Precision_Name(config.model().precision()),
      config.model().quantization() == ModelConfig::none
          ? ""
          : ", base in " + ModelConfig::Quantization_Name(config.model().quantization()),
      grouped_digits(plan.result.num_tried));
}

std::string rate_text(double tokens_per_second) {
  return grouped_digits(static_cast<int64_t>(tokens_per_second));
}

std::string best_text(const GpuPlan& plan) {
  const LayoutForecast& best = plan.shown();
  const double gpus = plan.request.num_gpus;
  const double seconds = best.seconds.total();
  return fmt::format(
      "\nbest: {}\n"
      "  {} tokens a second, {} a GPU; {} a step of {} micro-step{}\n"
      "  {} of {} used; {} sent by each rank, {} computed ({}/s)\n",
      layout_text(best), rate_text(best.tokens_per_second),
      rate_text(best.tokens_per_second / gpus), seconds_text(seconds),
      grouped_digits(best.input.micro_steps), best.input.micro_steps == 1 ? "" : "s",
      bytes_text(best.memory.total()), bytes_text(plan.hardware.memory_bytes()),
      bytes_text(sent_by_rank(best)), flops_text(flops_of_rank(best)),
      flops_text(flops_of_rank(best) / seconds));
}

std::string others_text(const GpuPlan& plan) {
  if (plan.result.fitting.size() < 2) return {};
  std::string text =
      fmt::format("\n{:<52}{:>12}{:>11}  {}\n", "next best", "tokens/s", "memory", "loses by");
  const LayoutForecast& best = plan.shown();
  for (size_t i = 1; i < plan.result.fitting.size(); ++i) {
    const LayoutForecast& other = plan.result.fitting[i];
    text += fmt::format("  {:<50}{:>12}{:>11}  {:.1f} %\n", layout_text(other),
                        rate_text(other.tokens_per_second), bytes_text(other.memory.total()),
                        100 * (1 - other.tokens_per_second / best.tokens_per_second));
    text += fmt::format("    {}\n", reason_to_lose(best, other));
  }
  return text;
}

std::string nothing_text(const GpuPlan& plan) {
  const LayoutForecast& leanest = plan.shown();
  std::string text =
      fmt::format("\nnothing fits: the leanest layout ({}) needs {} of {}\n", layout_text(leanest),
                  bytes_text(leanest.memory.total()), bytes_text(plan.hardware.memory_bytes()));
  if (plan.remedies.empty()) {
    return text +
           "  no quantised base and no number of GPUs up to 64 times as many would do; shorten "
           "data.max_length\n  or train fewer experts\n";
  }
  text += "  any of these would do:\n";
  for (const std::string& remedy : plan.remedies) text += "    " + remedy + "\n";
  return text;
}

std::string written_text(const GpuPlan& plan) {
  if (!plan.written) return "\nas written, the configuration cannot be laid out on so many GPUs\n";
  const LayoutForecast& written = *plan.written;
  std::string text = fmt::format("\nas written: {}\n  ", layout_text(written));
  if (written.fits) {
    return text + fmt::format("{} tokens a second, {} used\n", rate_text(written.tokens_per_second),
                              bytes_text(written.memory.total()));
  }
  text += fmt::format("does not fit: needs {} of {}", bytes_text(written.memory.total()),
                      bytes_text(plan.hardware.memory_bytes()));
  if (plan.changes.empty()) return text + ", and no single change makes it fit\n";
  text += "; any of these makes it fit:\n";
  for (const std::string& change : plan.changes) text += "    " + change + "\n";
  return text;
}

std::string memory_text(const GpuPlan& plan) {
  const RankMemory& memory = plan.shown().memory;
  std::string text = "\nmemory of one rank at its fullest\n";
  const auto line = [&](const char* name, double bytes) {
    if (bytes > 0) text += fmt::format("  {:<38}{:>12}\n", name, bytes_text(bytes));
  };
  line("base", memory.base);
  line("adapter", memory.adapter);
  line("gradients", memory.gradients);
  line("AdamW moments", memory.moments);
  line("activations kept", memory.activations);
  for (const KeptTensor& item : kept_activations(plan.shown().input, plan.shown().modes)) {
    const double share = item.bytes / memory.activations;
    constexpr double kWorthALine = 0.02;
    if (share >= kWorthALine)
      line(fmt::format("  {}: {}", item.part, item.what).c_str(), item.bytes);
  }
  line("working set", memory.working_set);
  line("buffers of collectives", memory.exchange);
  line("copy for checkpoints", memory.checkpoint_copy);
  line(plan.request.is_gpu ? "context, libraries, NCCL" : "program and libraries", memory.program);
  line("gaps of the allocator", memory.reserve);
  line("sum", memory.total());
  if (!plan.request.is_gpu) return text;
  line("in the host's memory beside it",
       host_memory_of_gpu_rank(plan.shown().input, plan.shown().modes));
  return text;
}

std::string time_text(const GpuPlan& plan) {
  const TermSeconds& seconds = plan.shown().seconds;
  std::string text = "\none step of one rank\n";
  for (size_t i = 0; i < kNumTimeTerms; ++i) {
    const auto term = static_cast<TimeTerm>(i);
    if (seconds[term] == 0) continue;
    text += fmt::format("  {:<38}{:>12}{:>8.1f} %\n", time_term_name(term),
                        seconds_text(seconds[term]), 100 * seconds[term] / seconds.total());
  }
  return text + fmt::format("  {:<38}{:>12}\n", "sum", seconds_text(seconds.total()));
}

}  // namespace

std::string gpu_plan_text(const GpuPlan& plan) {
  if (plan.result.fitting.empty()) {
    return heading(plan) + nothing_text(plan) + memory_text(plan);
  }
  return heading(plan) + best_text(plan) + others_text(plan) + written_text(plan) +
         memory_text(plan) + time_text(plan) + "\nto paste\n" + layout_yaml(plan.shown());
}

}  // namespace molora
