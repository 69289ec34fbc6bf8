#include "worker/checked_export.h"

#include <filesystem>
#include <system_error>
#include <utility>

#include <spdlog/spdlog.h>

#include "launcher/unwatched_job.h"

namespace molora {

namespace {

int run_process(std::vector<std::string> words) {
  LaunchCommand command;
  command.words = std::move(words);
  return run_unwatched(command);
}

void refuse(const std::filesystem::path& folder) {
  std::filesystem::path refused = folder;
  refused += ".refused";
  std::error_code error;
  std::filesystem::remove_all(refused, error);
  std::filesystem::rename(folder, refused, error);
  spdlog::error("{} does not give what the run gives; it is not to be used{}", folder.string(),
                error ? "" : " and was renamed to " + refused.string());
}

}  // namespace

int run_checked_export(const ExportArguments& arguments, std::vector<std::string> words) {
  const std::string program = words.front();
  words.emplace_back("--no-check");
  const int written = run_process(std::move(words));
  if (written != 0) return written;
  const int verified = run_process({program, "verify", arguments.output.string(), "--quiet"});
  if (verified != 0) refuse(arguments.output);
  return verified;
}

}  // namespace molora
