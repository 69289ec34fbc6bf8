// Work that every rank does for itself and that must succeed on all of them before any goes on.
#pragma once

#include <functional>
#include <string>

#include "base/error.h"
#include "comm/communicator.h"
#include "supervision.pb.h"

namespace molora {

// A failure that every rank knows of: all leave by it, so none waits for another. One rank speaks;
// the message of the others is empty.
class FailedTogether : public Error {
 public:
  FailedTogether(FaultKind fault, ExitCode exit_code, const std::string& message)
      : Error(exit_code, message), fault_(fault) {}
  FaultKind fault() const { return fault_; }

 private:
  FaultKind fault_;
};

// Runs `work` (no collectives in it) on every rank. When it throws anywhere, all ranks throw
// FailedTogether with the exit code of the lowest rank that failed, which alone carries the
// message: a wrong file is reported once, not once per rank. In a world of one the error itself
// passes through. Collective.
void together(Communicator& world, const std::function<void()>& work);

// Runs `work` on rank 0 alone; every rank returns its text, or throws as above. Collective.
std::string on_rank_zero(Communicator& world, const std::function<std::string()>& work);

}  // namespace molora
