// The verify command: are checkpoints whole, and if not, what is damaged where; does an export mean
// what the run meant.
#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include "export/export_record.h"
#include "export/logits_check.h"
#include "io/file.h"
#include "worker/adapted_session.h"
#include "worker/commands.h"
#include "worker/compute_threads.h"
#include "worker/console.h"
#include "worker/together.h"
#include "worker/verify_report.h"

namespace molora {

namespace {

// Tells of each checkpoint as soon as it was read: many of them take a while.
VerifyReport verify(const VerifyArguments& arguments) {
  VerifyReport report{list_checkpoints(local_files(), arguments.path), {}};
  for (const std::filesystem::path& folder : report.listing.steps) {
    report.steps.push_back(verify_step(local_files(), folder));
    print(verified_step_text(report.steps.back()));
  }
  print(closing_text(report));
  if (!arguments.json_path.empty()) {
    write_file_atomic(arguments.json_path, verify_json(report).dump(1) + "\n");
  }
  return report;
}

// The exported folder as anybody loads it, on the prompts that the run was asked.
ExitCode verify_export(const VerifyArguments& arguments, Communicator& world) {
  set_compute_threads(world);
  const ExportRecord record = read_export_record(arguments.path);
  const LogitsCheck expected = read_logits_check(arguments.path);
  ResolvedModel model = resolve_model({{arguments.path}, arguments.overrides}, world);
  model.config.mutable_device()->set_kind(DeviceConfig::cpu);
  AdaptedSession adapted(model, world);
  const LogitsCheck found = make_logits_check(adapted.session().model(), expected.prompts);
  if (found.logits_PV.sizes() != expected.logits_PV.sizes()) {
    throw DataError(fmt::format("{}: expected logits over {} tokens, the model has {}",
                                (arguments.path / kLogitsCheckName).string(),
                                expected.logits_PV.size(1), found.logits_PV.size(1)));
  }
  const double difference = logits_difference(expected.logits_PV, found.logits_PV);
  const bool is_good = difference <= record.tolerance;
  if (world.rank() == 0) {
    print(
        fmt::format("{}: {}: logits of {} prompts, loaded afresh, differ from the run's by at most "
                    "{:.2g} of their spread (allowed: {:.2g})\n",
                    arguments.path.string(), is_good ? "good" : "FAILED", expected.prompts.size(),
                    difference, record.tolerance));
    if (!arguments.json_path.empty()) {
      const nlohmann::json result = {{"good", is_good},
                                     {"difference", difference},
                                     {"tolerance", record.tolerance},
                                     {"prompts", expected.prompts.size()}};
      write_file_atomic(arguments.json_path, result.dump(1) + "\n");
    }
  }
  return is_good ? ExitCode::kDone : ExitCode::kStorage;
}

}  // namespace

ExitCode run_verify(const VerifyArguments& arguments, Communicator& world) {
  if (has_export_record(arguments.path)) return verify_export(arguments, world);
  const std::string outcome = on_rank_zero(
      world, [&] { return std::string(verify(arguments).are_whole() ? "whole" : ""); });
  return outcome.empty() ? ExitCode::kStorage : ExitCode::kDone;
}

}  // namespace molora
