#include "kernels/host/instruction_set.h"

#include <algorithm>

namespace molora {

namespace {

InstructionSet best_of_cpu() {
#if defined(__x86_64__)
  const bool has_avx2 = __builtin_cpu_supports("avx2") && __builtin_cpu_supports("bmi") &&
                        __builtin_cpu_supports("bmi2");
  const bool has_avx512 = __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
                          __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl");
  if (has_avx2) return has_avx512 ? InstructionSet::kAvx512 : InstructionSet::kAvx2;
#endif
  return InstructionSet::kPlain;
}

InstructionSet& chosen() {
  static InstructionSet set = best_of_cpu();
  return set;
}

}  // namespace

InstructionSet instruction_set() { return chosen(); }

void limit_instruction_set(InstructionSet most) { chosen() = std::min(best_of_cpu(), most); }

}  // namespace molora
