// The export command: a trained adapter in the files of the Python world, with the proof that a
// fresh process gets the same logits from them.
#include <algorithm>
#include <filesystem>
#include <optional>
#include <system_error>
#include <utility>

#include <ATen/core/grad_mode.h>
#include <fmt/format.h>
#include <spdlog/spdlog.h>

#include "config/resolved_yaml.h"
#include "eval/divergence.h"
#include "export/adapter_writer.h"
#include "export/export_record.h"
#include "export/logits_check.h"
#include "export/low_rank_fit.h"
#include "export/merged_model.h"
#include "io/file.h"
#include "model/architecture_text.h"
#include "worker/adapted_session.h"
#include "worker/commands.h"
#include "worker/compute_threads.h"
#include "worker/console.h"
#include "worker/held_out.h"

namespace molora {

namespace {

// What the exported model is asked in a fresh process. Fixed: two languages, short and long.
constexpr const char* kCheckPrompts[] = {
    "What is asthma?",
    "A 45-year-old man presents with chest pain that radiates to the left arm. What is the next "
    "step "
    "in management?",
    "\xe5\x92\xb3\xe5\x97\xbd\xe6\x80\x8e\xe4\xb9\x88\xe5\x8a\x9e\xef\xbc\x9f",  // cough: what to
                                                                                 // do?
    "1 2 3 4 5 6 7 8",
};

// How far a fresh process's logits may be off, as a share of their spread. Files of adapters are
// compared with what is in them, rounded as they are: the same arithmetic on the same numbers. A
// merged weight is rounded after the sum, and nothing here computes with that.
constexpr double kToleranceOfFiles = 1e-4;
double tolerance_of_sum(at::ScalarType type) {
  switch (type) {
    case at::kBFloat16:
      return 0.2;
    case at::kHalf:
      return 0.02;
    default:
      return 1e-3;
  }
}
// ... and never more than this share of what the adapter changes: an export without it must fail.
constexpr double kToleranceOfEffect = 0.25;

at::ScalarType type_of(ExportType type) {
  switch (type) {
    case ExportType::kBf16:
      return at::kBFloat16;
    case ExportType::kFp16:
      return at::kHalf;
    case ExportType::kDefault:
    case ExportType::kFp32:
      return at::kFloat;
  }
  return at::kFloat;
}

std::vector<std::vector<int32_t>> check_prompts(const ModelSession& session) {
  std::vector<std::vector<int32_t>> prompts;
  for (const char* text : kCheckPrompts) {
    std::vector<int32_t> ids = session.chat_template().encode_prompt({{Role::kUser, text}});
    const auto limit = static_cast<size_t>(session.architecture().max_position);
    if (ids.size() > limit) ids.resize(limit);
    if (!ids.empty()) prompts.push_back(std::move(ids));
  }
  return prompts;
}

class Export {
 public:
  Export(const ExportArguments& arguments, const RunConfig& config, ModelSession& session,
         Communicator& world)
      : arguments_(arguments), config_(config), session_(session), world_(world) {}

  // Throws: ConfigError, DataError, IoError; nothing of that name is there then.
  void run() {
    check_trained(session_.adapters());
    if (arguments_.approximate_rank > 0) approximate();
    check_export(config_.adapter(), arguments_.format);
    task_ = adapters().task_number(arguments_.task);
    round_adapters();
    std::filesystem::path part = arguments_.output;
    part += ".part";
    std::filesystem::remove_all(part);
    make_folders(part);
    write_adapter(part);
    write_proof(part);
    sync_folder(part);
    publish(part);
  }

 private:
  // What is written: the session's adapter, or one made of it.
  const AdapterSet& adapters() const { return made_ ? *made_ : session_.adapters(); }

  AdapterSet new_adapters(const AdapterConfig& config) const {
    return {session_.architecture(), config, config_.seed(),
            session_.adapters().parameters().front().value.scalar_type()};
  }

  CausalLM model_with(const AdapterSet& adapters) const {
    return {session_.architecture(), session_.weights(), adapters, session_.model().layout()};
  }

  DataConfig text() const {
    DataConfig data = with_held_out_files(config_.data(), arguments_.data);
    if (data.eval_size() == 0) {
      throw ConfigError(
          "--approximate weighs experts by what the routers do on text, and measures there what it "
          "costs, but the configuration has no data.eval; name files with --data FILE");
    }
    return data;
  }

  void approximate() {
    const auto rank = static_cast<uint32_t>(arguments_.approximate_rank);
    const AdapterConfig single = single_lora_config(config_.adapter(), rank);
    const HeldOut held_out(text(), {.max_samples_per_task = arguments_.max_samples_per_task},
                           session_, world_);
    made_.emplace(new_adapters(single));
    fit_single_loras(session_.adapters(),
                     mean_router_weights(session_.model(), session_.adapters(), held_out.set()),
                     *made_);
    const AdapterSet none = new_adapters(single);
    const Divergence of_fit =
        measure_divergence(session_.model(), model_with(*made_), held_out.set());
    const Divergence of_base =
        measure_divergence(session_.model(), model_with(none), held_out.set());
    const auto line = [](const char* name, const Divergence& found) {
      return fmt::format(
          "  {:<22} {:.4f} nats a token (worst {:.2f}), the same likeliest token {:.1f} %\n", name,
          found.kl_nats, found.worst_nats, 100.0 * found.same_top);
    };
    print(fmt::format(
        "one LoRA of rank {} in the place of each mixture; from the mixture's predictions of {} "
        "answer tokens:\n{}{}",
        rank, of_fit.tokens, line("this approximation", of_fit),
        line("no adapter at all", of_base)));
    *config_.mutable_adapter() = single;
  }

  // To the numbers that the file will hold, so that the proof is about them.
  void round_adapters() {
    if (is_merged() || type_of(arguments_.type) == at::kFloat) return;
    AdapterSet rounded = new_adapters(config_.adapter());
    const at::NoGradGuard no_grad;
    for (size_t i = 0; i < rounded.parameters().size(); ++i) {
      Tensor value = rounded.parameters()[i].value;
      value.copy_(adapters().parameters()[i].value.to(type_of(arguments_.type)));
    }
    made_.emplace(std::move(rounded));
  }

  bool is_merged() const { return arguments_.format == ExportFormat::kMerged; }

  // That all weights of a merged folder are converted to; nothing: each keeps its own.
  std::optional<at::ScalarType> merged_type() const {
    if (arguments_.type == ExportType::kDefault) return std::nullopt;
    return type_of(arguments_.type);
  }

  void write_adapter(const std::filesystem::path& folder) const {
    const std::filesystem::path base = config_.model().path();
    if (is_merged()) return write_merged_model(adapters(), base, {merged_type(), task_}, folder);
    const std::string name = arguments_.base_name.empty() ? base.string() : arguments_.base_name;
    const AdapterToWrite adapter{adapters(), config_.adapter(), name, type_of(arguments_.type)};
    if (arguments_.format == ExportFormat::kMing) return write_ming_adapter(adapter, base, folder);
    if (arguments_.format == ExportFormat::kMixlora) {
      return write_moe_peft_adapter(adapter, PublishedForm::kMixlora, folder);
    }
    if (arguments_.format == ExportFormat::kMola) {
      return write_moe_peft_adapter(adapter, PublishedForm::kMola, folder);
    }
    write_peft_adapter(adapter, folder);
  }

  void write_proof(const std::filesystem::path& folder) const {
    const std::vector<std::vector<int32_t>> prompts = check_prompts(session_);
    const LogitsCheck check = make_logits_check(model_with(adapters()), prompts, task_);
    const AdapterSet none = new_adapters(config_.adapter());
    const double effect = logits_difference(
        check.logits_PV, make_logits_check(model_with(none), prompts, task_).logits_PV);
    write_logits_check(check, folder);
    ExportRecord record;
    record.format = arguments_.format;
    record.molora_version = MOLORA_VERSION;
    record.base_fingerprint = session_.weights().fingerprint();
    record.architecture = architecture_text(session_.architecture());
    RunConfig recorded = config_;
    if (is_merged()) {  // what is in the weights now asks for no task any more
      recorded.mutable_adapter()->mutable_router()->clear_input();
      recorded.mutable_adapter()->mutable_router()->clear_tasks();
    }
    record.run_config = resolved_yaml(recorded);
    record.tolerance = std::min(
        is_merged() ? tolerance_of_sum(merged_type().value_or(at::kBFloat16)) : kToleranceOfFiles,
        kToleranceOfEffect * effect);
    write_export_record(record, folder);
  }

  void publish(const std::filesystem::path& part) const {
    std::error_code error;
    std::filesystem::rename(part, arguments_.output, error);
    if (error) {
      throw IoError(fmt::format("{}: cannot be renamed to {}: {}", part.string(),
                                arguments_.output.string(), error.message()));
    }
    print(fmt::format("{}: written ({})\n", arguments_.output.string(),
                      export_format_name(arguments_.format)));
  }

  const ExportArguments& arguments_;
  RunConfig config_;
  ModelSession& session_;
  Communicator& world_;
  std::optional<AdapterSet> made_;
  int64_t task_ = kNoTask;
};

}  // namespace

ExitCode run_export(const ExportArguments& arguments, Communicator& world) {
  set_compute_threads(world);
  if (std::filesystem::exists(arguments.output)) {
    throw ConfigError(
        fmt::format("{}: is there already; name a folder that is not", arguments.output.string()));
  }
  if (world.size() != 1) {
    throw ConfigError(fmt::format(
        "expected one rank, got {}: export holds the whole adapter on one", world.size()));
  }
  ResolvedModel model = resolve_model(arguments.model, world);
  // One rank that does a few forward passes: no device is worth its memory.
  model.config.mutable_device()->set_kind(DeviceConfig::cpu);
  model.config.mutable_parallel()->set_tensor_parallel(1);
  model.config.mutable_parallel()->set_expert_parallel(1);
  AdaptedSession adapted(model, world);
  Export(arguments, adapted.config(), adapted.session(), world).run();
  return ExitCode::kDone;
}

}  // namespace molora
