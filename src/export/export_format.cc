#include "export/export_format.h"

#include <array>
#include <cmath>
#include <string>
#include <utility>
#include <vector>

#include <fmt/format.h>
#include <fmt/ranges.h>

#include "base/error.h"
#include "config/adapter_family.h"
#include "export/fixed_weight.h"
#include "model/adapter_placement.h"
#include "model/linear_kind.h"

namespace molora {

namespace {

constexpr std::array<std::pair<ExportFormat, std::string_view>, 5> kNames = {
    {{ExportFormat::kPeft, "peft"},
     {ExportFormat::kMing, "ming"},
     {ExportFormat::kMixlora, "mixlora"},
     {ExportFormat::kMola, "mola"},
     {ExportFormat::kMerged, "merged"}}};

// Linears whose adapter is this.
std::vector<std::string> linears_with(const AdapterConfig& adapter, bool has_router,
                                      TargetsConfig::Kind kind) {
  std::vector<std::string> names;
  for (const LinearKind linear : kLinearKinds) {
    const AdapterSpec spec = adapter_spec(adapter, linear, 0);
    if (spec.kind == kind && spec.has_router() == has_router) {
      names.emplace_back(linear_name(linear));
    }
  }
  return names;
}

// Members of the family whose parts the form has no place for.
void check_family(const AdapterConfig& adapter, ExportFormat format) {
  std::vector<std::string> others = family_fields(adapter);
  if (format == ExportFormat::kPeft) std::erase(others, "adapter.dora");
  if (format == ExportFormat::kMing) std::erase(others, "adapter.router.selection");
  if (format == ExportFormat::kMixlora) {
    std::erase(others, "adapter.router.scope");
    if (adapter.router().gate() == RouterConfig::top_p) std::erase(others, "adapter.router.gate");
  }
  if (others.empty()) return;
  throw ConfigError(fmt::format("--format {} has no place for what {} {} for",
                                export_format_name(format), fmt::join(others, ", "),
                                others.size() == 1 ? "asks" : "ask"));
}

bool is_mlp(LinearKind kind) {
  return kind == LinearKind::kGate || kind == LinearKind::kUp || kind == LinearKind::kDown;
}

[[noreturn]] void refuse_mixed(const AdapterConfig& adapter, const std::vector<std::string>& mixed,
                               ExportFormat format) {
  throw ConfigError(fmt::format(
      "--format {} holds plain LoRA, but {} {} a mixture of {} experts whose router decides for "
      "each token: no fixed matrix does the same. Use --format ming, or --approximate RANK for the "
      "best single LoRA in the place of each mixture, with the divergence that it costs",
      export_format_name(format), fmt::join(mixed, ", "), mixed.size() == 1 ? "has" : "have",
      adapter.num_experts()));
}

// Weights can take in what is the same for every token.
void check_merged(const AdapterConfig& adapter) {
  std::vector<std::string> mixed;
  for (const LinearKind kind : kLinearKinds) {
    const AdapterSpec spec = adapter_spec(adapter, kind, 0);
    if (spec.kind != TargetsConfig::frozen && !has_fixed_weight(spec)) {
      mixed.emplace_back(linear_name(kind));
    }
  }
  if (!mixed.empty()) refuse_mixed(adapter, mixed, ExportFormat::kMerged);
}

// Every output of a token is a fixed matrix times it: no router.
void check_plain(const AdapterConfig& adapter, ExportFormat format) {
  const std::vector<std::string> mixed =
      linears_with(adapter, /*has_router=*/true, TargetsConfig::experts);
  if (!mixed.empty()) refuse_mixed(adapter, mixed, format);
}

void check_ming(const AdapterConfig& adapter) {
  for (const LinearKind kind : kLinearKinds) {
    const AdapterSpec spec = adapter_spec(adapter, kind, 0);
    if (spec.has_router() != is_mlp(kind)) {
      throw ConfigError(fmt::format(
          "--format ming has experts on gate_proj, up_proj and down_proj and plain LoRA or nothing "
          "elsewhere, but {} has {}{}",
          linear_name(kind), spec.has_router() ? "experts" : "none",
          spec.has_router() ? "" : "; --format peft holds plain LoRA"));
    }
  }
  if (linears_with(adapter, /*has_router=*/false, TargetsConfig::lora).empty()) {
    throw ConfigError(
        "--format ming is a PEFT folder with experts beside it: it needs plain LoRA on at least "
        "one "
        "of q_proj, k_proj, v_proj, o_proj");
  }
  if (adapter_spec(adapter, LinearKind::kGate, 0).gate != RouterConfig::topk_softmax) {
    throw ConfigError(fmt::format(
        "--format ming knows the gate topk_softmax alone, but adapter.router.gate is {}",
        RouterConfig::Gate_Name(adapter.router().gate())));
  }
}

// Of both forms of MoE-PEFT: routers and numbers.
void check_moe_peft(const AdapterConfig& adapter, ExportFormat format) {
  const RouterConfig& router = adapter.router();
  const auto refuse = [&](const std::string& why) {
    throw ConfigError(fmt::format("--format {} {}", export_format_name(format), why));
  };
  if (router.bias()) {
    refuse("has routers without a bias, but adapter.router.bias is true");
  }
  if (adapter.num_experts() < 2) {
    refuse(fmt::format("has mixtures of at least 2 experts, but adapter.num_experts is {}",
                       adapter.num_experts()));
  }
  const bool is_open = format == ExportFormat::kMixlora && router.gate() == RouterConfig::top_p;
  if (!is_open && router.gate() != RouterConfig::topk_softmax &&
      router.gate() != RouterConfig::softmax_topk_renorm) {
    refuse(
        fmt::format("knows the gates topk_softmax and softmax_topk_renorm{}, but "
                    "adapter.router.gate is {}",
                    format == ExportFormat::kMixlora ? " (and top_p, which moe_peft reads)" : "",
                    RouterConfig::Gate_Name(router.gate())));
  }
  if (adapter.lora_alpha() != std::floor(adapter.lora_alpha())) {
    refuse(fmt::format("holds a whole number lora_alpha, but adapter.lora_alpha is {}",
                       adapter.lora_alpha()));
  }
}

void check_mixlora(const AdapterConfig& adapter) {
  for (const LinearKind kind : kLinearKinds) {
    if (is_mlp(kind) || adapter_spec(adapter, kind, 0).kind != TargetsConfig::experts) continue;
    throw ConfigError(fmt::format(
        "--format mixlora has plain LoRA or nothing on the attention, but {} has experts",
        linear_name(kind)));
  }
  if (adapter.router().scope() != RouterConfig::block) {
    throw ConfigError(
        "--format mixlora has experts that are whole MLPs with one router "
        "(adapter.router.scope: block), but adapter.router.scope is linear; --format mola and ming "
        "hold experts with a router each");
  }
  check_moe_peft(adapter, ExportFormat::kMixlora);
}

void check_mola(const AdapterConfig& adapter) {
  const std::vector<std::string> plain =
      linears_with(adapter, /*has_router=*/false, TargetsConfig::lora);
  if (!plain.empty()) {
    throw ConfigError(
        fmt::format("--format mola has experts or nothing on each linear, but {} {} plain "
                    "LoRA",
                    fmt::join(plain, ", "), plain.size() == 1 ? "has" : "have"));
  }
  check_moe_peft(adapter, ExportFormat::kMola);
}

}  // namespace

std::string_view export_format_name(ExportFormat format) {
  for (const auto& [known, name] : kNames) {
    if (known == format) return name;
  }
  return "?";
}

std::optional<ExportFormat> export_format_from_name(std::string_view name) {
  for (const auto& [format, known] : kNames) {
    if (known == name) return format;
  }
  return std::nullopt;
}

void check_export(const AdapterConfig& adapter, ExportFormat format) {
  if (format == ExportFormat::kMerged) return check_merged(adapter);
  check_family(adapter, format);
  switch (format) {
    case ExportFormat::kMing:
      return check_ming(adapter);
    case ExportFormat::kMixlora:
      return check_mixlora(adapter);
    case ExportFormat::kMola:
      return check_mola(adapter);
    case ExportFormat::kPeft:
    case ExportFormat::kMerged:
      return check_plain(adapter, format);
  }
}

AdapterConfig single_lora_config(const AdapterConfig& adapter, uint32_t lora_rank) {
  for (const std::string& field : family_fields(adapter)) {
    if (field != "adapter.dora" && field != "adapter.router.scope" &&
        field != "adapter.router.input" && field != "adapter.router.heads") {
      continue;
    }
    throw ConfigError(fmt::format(
        "--approximate fits sums of low-rank products, which an adapter with {} is not", field));
  }
  AdapterConfig single = adapter;
  TargetsConfig& targets = *single.mutable_targets();
  const auto* fields = targets.GetDescriptor();
  const auto* reflection = targets.GetReflection();
  for (int i = 0; i < fields->field_count(); ++i) {
    const auto* field = fields->field(i);
    if (reflection->GetEnumValue(targets, field) == TargetsConfig::frozen) continue;
    reflection->SetEnumValue(&targets, field, TargetsConfig::lora);
  }
  if (adapter.lora_rank() > lora_rank &&
      !linears_with(adapter, false, TargetsConfig::lora).empty()) {
    throw ConfigError(fmt::format(
        "--approximate {}: the plain LoRA of {} has rank {}, expected at least that", lora_rank,
        fmt::join(linears_with(adapter, false, TargetsConfig::lora), ", "), adapter.lora_rank()));
  }
  single.clear_num_experts();
  single.clear_experts_per_token();
  single.clear_router();
  single.clear_frozen_experts();
  single.clear_shared_experts();
  single.clear_shared_a();
  single.clear_num_experts_by_layer();
  single.clear_experts_per_token_by_layer();
  single.clear_lora_rank_by_layer();
  single.set_rslora(false);
  single.set_lora_rank(lora_rank);
  single.set_lora_alpha(lora_rank);
  return single;
}

}  // namespace molora
