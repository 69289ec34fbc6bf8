// The config command: what can be configured.
#include "config/describe_config.h"
#include "worker/commands.h"
#include "worker/console.h"

namespace molora {

ExitCode run_config() {
  print(describe_config());
  return ExitCode::kDone;
}

}  // namespace molora
