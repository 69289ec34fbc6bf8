#include "watch/fault_kind.h"

#include <cstring>
#include <new>

namespace molora {

ExitCode exit_code_of(FaultKind fault) {
  switch (fault) {
    case FAULT_NONE:
      return ExitCode::kDone;
    case FAULT_CONFIG:
    case FAULT_DATA:
    case FAULT_NUMERICS:
      return ExitCode::kConfig;
    case FAULT_STORAGE:
    case FAULT_LAUNCH:
      return ExitCode::kStorage;
    case FAULT_INTERNAL:
    case FAULT_CRASH:
    case FAULT_EARLY_EXIT:
      return ExitCode::kInternal;
    case FAULT_MEMORY:
      return ExitCode::kMemory;
    case FAULT_LOST:
    case FAULT_HANG:
      return ExitCode::kPeer;
  }
  return ExitCode::kInternal;
}

// Storage too: what a run could not save it would compute again and not save again.
bool is_permanent(FaultKind fault) {
  switch (exit_code_of(fault)) {
    case ExitCode::kConfig:
    case ExitCode::kStorage:
      return true;
    default:
      return false;
  }
}

const char* fault_text(FaultKind fault) {
  switch (fault) {
    case FAULT_NONE:
      return "none";
    case FAULT_CONFIG:
      return "configuration";
    case FAULT_DATA:
      return "data";
    case FAULT_STORAGE:
      return "storage";
    case FAULT_INTERNAL:
      return "internal fault";
    case FAULT_CRASH:
      return "crash";
    case FAULT_MEMORY:
      return "out of memory";
    case FAULT_LOST:
      return "lost";
    case FAULT_HANG:
      return "hang";
    case FAULT_EARLY_EXIT:
      return "early exit";
    case FAULT_NUMERICS:
      return "numerics";
    case FAULT_LAUNCH:
      return "launch";
  }
  return "?";
}

const char* phase_text(Phase phase) {
  switch (phase) {
    case PHASE_START:
      return "start";
    case PHASE_LOAD:
      return "load";
    case PHASE_STEP:
      return "step";
    case PHASE_EVALUATE:
      return "evaluate";
    case PHASE_SAVE:
      return "save";
    case PHASE_FINISH:
      return "finish";
  }
  return "?";
}

FaultKind fault_of(const std::exception& error) {
  if (dynamic_cast<const DataError*>(&error) != nullptr) return FAULT_DATA;
  if (dynamic_cast<const NumericsError*>(&error) != nullptr) return FAULT_NUMERICS;
  if (dynamic_cast<const std::bad_alloc*>(&error) != nullptr) return FAULT_MEMORY;
  const auto* known = dynamic_cast<const Error*>(&error);
  if (known == nullptr) {
    // LibTorch has no type of its own for it on CPUs.
    const bool is_memory = std::strstr(error.what(), "allocate memory") != nullptr ||
                           std::strstr(error.what(), "out of memory") != nullptr;
    return is_memory ? FAULT_MEMORY : FAULT_INTERNAL;
  }
  switch (known->exit_code()) {
    case ExitCode::kConfig:
      return FAULT_CONFIG;
    case ExitCode::kStorage:
      return FAULT_STORAGE;
    case ExitCode::kMemory:
      return FAULT_MEMORY;
    case ExitCode::kPeer:
      return FAULT_LOST;
    default:
      return FAULT_INTERNAL;
  }
}

}  // namespace molora
