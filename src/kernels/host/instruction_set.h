// Which vector instructions the loops of the host kernels use. Results are the same with all.
#pragma once

namespace molora {

enum class InstructionSet {
  kPlain,   // what the compiler takes without being told
  kAvx2,    // with BMI 1 and 2
  kAvx512,  // F, BW, DQ and VL
};

// The best that this CPU, the program's build and limit_instruction_set() allow.
InstructionSet instruction_set();

// For tests and measurements; before any work of other threads.
void limit_instruction_set(InstructionSet most);

}  // namespace molora
