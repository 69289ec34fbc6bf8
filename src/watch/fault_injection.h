// Faults on request: the product breaks itself at a named point, so that everything that is there
// for broken machines can be tried on a whole one. Off unless the environment variable MOLORA_FAULT
// is set:
//
//   MOLORA_FAULT="step=7,rank=1,phase=backward,kind=kill;
//   attempt=2,step=9,rank=0,phase=save,kind=throw"
//
// Each fault happens once, on one rank, in one start of the run.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace molora {

// Where the points are. Of each step, except for `load`.
enum class FaultPhase {
  kLoad,      // after the base is read
  kForward,   // of the first micro-step
  kBackward,  // of the first micro-step
  kSync,      // before gradients are summed
  kUpdate,    // before the optimizer's update
  kEvaluate,  // held-out data, after step `step`
  kSave,      // the step boundary after step `step`
};

enum class InjectedKind {
  kKill,      // SIGKILL
  kStop,      // SIGSTOP
  kExit,      // leaves with `code` at once
  kThrow,     // InternalError
  kSegfault,  // SIGSEGV
  kNan,       // one gradient value of this rank becomes NaN (kBackward)
  kBitflip,   // the highest exponent bit of one gradient value of this rank flips (kBackward)
  kSlow,      // sleeps for `seconds`
  kSkip,      // leaves out the next collective of this rank
  kMemory,    // takes and touches `mib` MiB and keeps them
};

struct InjectedFault {
  int64_t step = 1;  // counted from 1, as in logs; not of kLoad
  int rank = 0;
  FaultPhase phase = FaultPhase::kForward;
  InjectedKind kind = InjectedKind::kThrow;
  int attempt = 1;       // start of the run by its supervisor, from 1; 0: every one
  int code = 0;          // kExit
  double seconds = 1.0;  // kSlow
  uint64_t mib = 1024;   // kMemory
};

// Throws: ConfigError with the word that is wrong and what there is.
std::vector<InjectedFault> parse_faults(std::string_view text);

// The faults of this thread's rank in this attempt; others are dropped. Says with a warning what is
// to come. An empty list takes all away.
void arm_faults(const std::vector<InjectedFault>& faults, int rank, int attempt);

// A point of the program: what is armed for it happens here. Free of cost when nothing is.
// Throws: InternalError (kThrow).
void fault_point(FaultPhase phase, int64_t step);

// What the caller of fault_point(kBackward, step) has to do to its gradients: kNan or kBitflip.
std::optional<InjectedKind> take_gradient_fault();
// Whether the next collective is to be left out (kSkip); asked by the communicator.
bool take_skip();
// Where this thread keeps that; another thread's while it works in its place (watch/thread_ties.h).
bool* thread_skip();
void bind_skip(bool* flag);

}  // namespace molora
