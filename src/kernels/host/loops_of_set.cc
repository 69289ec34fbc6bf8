// All loops for one instruction set; compiled once for each, with MOLORA_LOOP_SET naming it.
#include "kernels/host/all_loops.h"
#include "kernels/host/instruction_set.h"

namespace molora {

template <InstructionSet kSet, typename Loop>
void run_rows(const Loop& loop, int64_t begin, int64_t end) {
  loop(begin, end);
}

#define MOLORA_RUN_LOOP(...)                                                                      \
  template void run_rows<InstructionSet::MOLORA_LOOP_SET>(const __VA_ARGS__& loop, int64_t begin, \
                                                          int64_t end);
MOLORA_ALL_LOOPS(MOLORA_RUN_LOOP)

}  // namespace molora
