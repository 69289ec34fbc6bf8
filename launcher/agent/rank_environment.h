// What the environment tells a process about the rank that it is, and about its supervisor.
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "launcher/plan/environment.h"

namespace molora {

// Where a supervisor listens: the addresses of its host, of which a rank's host may reach only
// some. Written "10.0.0.1,127.0.0.1:4711".
struct SupervisorAddress {
  std::vector<std::string> hosts;  // IPv4
  int port = 0;

  std::string text() const;
  // Throws: ConfigError that shows the text.
  static SupervisorAddress parse(std::string_view text);
};

struct RankEnvironment {
  int rank = 0;
  int world_size = 1;
  int attempt = 1;                              // start of the run by its supervisor, from 1
  std::optional<SupervisorAddress> supervisor;  // none: started by a user's own launcher
  std::string token;                            // the supervisor's proof of who asks
};

// Names of the variables that the supervisor sets for its ranks.
inline constexpr char kSupervisorVariable[] = "MOLORA_SUPERVISOR";
inline constexpr char kTokenVariable[] = "MOLORA_TOKEN";
inline constexpr char kAttemptVariable[] = "MOLORA_ATTEMPT";

// Of mpirun, or of srun with or without its pmix plugin; a process that was started by itself is
// rank 0 of 1. Throws: ConfigError that names the variable and its value.
RankEnvironment rank_environment(const Environment& environment);

// The variables of launchers that say who a rank is. A process started directly must not have
// them, or it takes itself for one of the job that its supervisor is part of.
const std::vector<std::string>& rank_variables();

}  // namespace molora
