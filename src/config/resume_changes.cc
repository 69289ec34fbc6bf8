#include "config/resume_changes.h"

#include <fmt/format.h>

#include "base/error.h"
#include "config/config_difference.h"

namespace molora {

ResumeChanges check_resume_changes(const RunConfig& stored, const RunConfig& wanted,
                                   ChangePolicy policy) {
  ResumeChanges changes;
  for (const ConfigChange& change : config_changes(stored, wanted)) {
    (change.is_free_at_resume ? changes.free : changes.guarded).push_back(change_text(change));
  }
  if (policy == ChangePolicy::kAllow || changes.guarded.empty()) return changes;
  throw ConfigError(fmt::format(
      "the configuration differs from the checkpoint's in {} that decide{} the trained numbers:\n"
      "  {}\nGo on with the checkpoint's values, or change them on purpose with --allow-change; "
      "`molora config` says which fields may change freely",
      changes.guarded.size() == 1 ? "a field" : fmt::format("{} fields", changes.guarded.size()),
      changes.guarded.size() == 1 ? "s" : "", fmt::join(changes.guarded, "\n  ")));
}

}  // namespace molora
