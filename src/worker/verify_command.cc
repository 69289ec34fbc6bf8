// The verify command: are checkpoints whole, and if not, what is damaged where.
#include "io/file.h"
#include "worker/commands.h"
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

}  // namespace

ExitCode run_verify(const VerifyArguments& arguments, Communicator& world) {
  const std::string outcome = on_rank_zero(
      world, [&] { return std::string(verify(arguments).are_whole() ? "whole" : ""); });
  return outcome.empty() ? ExitCode::kStorage : ExitCode::kDone;
}

}  // namespace molora
