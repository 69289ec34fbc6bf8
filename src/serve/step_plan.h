// What all ranks do in one step of serving: rank 0 decides it, the others read it here.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "generate/sequence.h"

namespace molora {

struct StepPlan {
  bool is_last = false;           // nothing is done, and no plan follows
  size_t model = 0;               // whose batch makes a step
  std::vector<uint64_t> removed;  // sequences that leave it before, by key
  std::vector<NewSequence> added;
};

// A plan as bytes, and back to the same numbers.
std::string plan_bytes(const StepPlan& plan);
StepPlan plan_of_bytes(const std::string& bytes);

}  // namespace molora
