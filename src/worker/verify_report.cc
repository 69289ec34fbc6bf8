#include "worker/verify_report.h"

#include <algorithm>
#include <chrono>

#include <fmt/format.h>

#include "base/unit_text.h"
#include "checkpoint/step_folder.h"

namespace molora {

namespace {

using nlohmann::json;

constexpr size_t kMostLines = 20;

std::string count_text(int64_t count, std::string_view what) {
  return fmt::format("{} {}{}", grouped_digits(count), what, count == 1 ? "" : "s");
}

std::string speed_text(const VerifiedStep& step) {
  if (step.seconds <= 0) return {};
  return fmt::format(", {:.0f} MB/s", static_cast<double>(step.found.bytes) / step.seconds / 1e6);
}

json damages_json(const std::vector<Damage>& damages) {
  json list = json::array();
  for (const Damage& damage : damages) {
    json entry = {{"file", damage.file}, {"what", damage.what}};
    if (!damage.tensor.empty()) entry["tensor"] = damage.tensor;
    if (damage.begin < damage.end) entry["bytes"] = {damage.begin, damage.end};
    list.push_back(entry);
  }
  return list;
}

}  // namespace

bool VerifyReport::are_whole() const {
  return !steps.empty() && std::all_of(steps.begin(), steps.end(), [](const VerifiedStep& step) {
    return step.found.is_whole();
  });
}

std::optional<int64_t> VerifyReport::step_to_resume() const {
  const auto found = std::find_if(steps.begin(), steps.end(),
                                  [](const VerifiedStep& step) { return step.found.is_whole(); });
  if (found == steps.end()) return std::nullopt;
  return found->found.step;
}

VerifiedStep verify_step(FileSystem& files, const std::filesystem::path& folder) {
  const auto begin = std::chrono::steady_clock::now();
  VerifiedStep step;
  step.folder = folder;
  step.found = verify_checkpoint(files, folder);
  step.seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count();
  return step;
}

std::string verified_step_text(const VerifiedStep& step) {
  const Verification& found = step.found;
  std::string text;
  if (found.is_whole()) {
    text = fmt::format("{}: whole: step {}, {}, {}, {} in {}{}\n", step.folder.string(), found.step,
                       count_text(found.num_files, "file"), count_text(found.num_tensors, "tensor"),
                       bytes_text(static_cast<double>(found.bytes)), seconds_text(step.seconds),
                       speed_text(step));
  } else {
    text = fmt::format("{}: DAMAGED: {}\n", step.folder.string(),
                       count_text(static_cast<int64_t>(found.damages.size()), "damage"));
  }
  for (size_t i = 0; i < std::min(found.damages.size(), kMostLines); ++i) {
    text += fmt::format("  {}\n", damage_text({}, found.damages[i]));
  }
  if (found.damages.size() > kMostLines) {
    text +=
        fmt::format("  ... and {} more (--json FILE has all)\n", found.damages.size() - kMostLines);
  }
  for (const Damage& note : found.notes) {
    text += fmt::format("  note: {}\n", damage_text({}, note));
  }
  return text;
}

std::string closing_text(const VerifyReport& report) {
  const CheckpointListing& listing = report.listing;
  if (listing.is_one_step()) return {};
  std::string text;
  for (const std::string& name : listing.put_aside) {
    text += fmt::format("{}: damaged, put aside by a resume; not checked\n",
                        (listing.root / name).string());
  }
  for (const std::string& name : listing.attempts) {
    text += fmt::format(
        "{}: not committed: being written, or left behind and removed at the next start\n",
        (listing.root / name).string());
  }
  if (listing.steps.empty()) {
    return text + "no checkpoint is committed: a run starts from step 0\n";
  }
  const std::string newest = listing.steps.front().filename().string();
  if (!listing.latest.empty() && listing.latest != newest) {
    text +=
        fmt::format("note: the hint `latest` says {}, the newest is {}\n", listing.latest, newest);
  }
  const auto whole = std::count_if(report.steps.begin(), report.steps.end(),
                                   [](const VerifiedStep& step) { return step.found.is_whole(); });
  const auto step = report.step_to_resume();
  return text + fmt::format("{} of {} whole; checkpoint.resume: auto {}\n", whole,
                            count_text(static_cast<int64_t>(report.steps.size()), "checkpoint"),
                            step ? fmt::format("goes on from step {}", *step)
                                 : "finds none and stops the run");
}

json verify_json(const VerifyReport& report) {
  json steps = json::array();
  for (const VerifiedStep& step : report.steps) {
    steps.push_back({{"folder", step.folder.string()},
                     {"is_whole", step.found.is_whole()},
                     {"step", step.found.step},
                     {"files", step.found.num_files},
                     {"tensors", step.found.num_tensors},
                     {"bytes", step.found.bytes},
                     {"seconds", step.seconds},
                     {"damages", damages_json(step.found.damages)},
                     {"notes", damages_json(step.found.notes)}});
  }
  const auto resume = report.step_to_resume();
  return {{"are_whole", report.are_whole()},
          {"steps", steps},
          {"not_committed", report.listing.attempts},
          {"put_aside", report.listing.put_aside},
          {"latest", report.listing.latest},
          {"step_to_resume", resume ? json(*resume) : json()}};
}

}  // namespace molora
