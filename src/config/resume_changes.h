// Whether a run may go on with a configuration other than the one that its checkpoint was made
// with.
#pragma once

#include <string>
#include <vector>

#include "run_config.pb.h"

namespace molora {

// What to do about fields that decide the trained numbers.
enum class ChangePolicy {
  kRefuse,
  kAllow,  // train --allow-change
};

// What changed, one line per field ("train.learning_rate: 0.001 -> 0.002"), for the log.
struct ResumeChanges {
  std::vector<std::string> free;     // the trained numbers stay what they would have been
  std::vector<std::string> guarded;  // they do not; only with kAllow
};

// Compares with the configuration of the checkpoint; a field that the checkpoint did not know yet
// had its default. Throws: ConfigError with every guarded field that changed, unless allowed.
ResumeChanges check_resume_changes(const RunConfig& stored, const RunConfig& wanted,
                                   ChangePolicy policy);

}  // namespace molora
