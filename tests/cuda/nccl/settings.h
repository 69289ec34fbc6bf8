// The environment of the fake NCCL, read once.
#pragma once

#include <chrono>
#include <cstdint>
#include <string>

namespace molora::fake_nccl {

// In what order a reduction adds the ranks' values.
enum class ReductionOrder { kRank, kReverse, kRing, kTree };

struct Settings {
  uint64_t seed = 0;  // 0: no delays
  std::chrono::microseconds max_delay{0};
  std::chrono::seconds timeout{0};  // for what other ranks must do
  ReductionOrder order = ReductionOrder::kRing;
  std::string fail;   // failure_plan.h
  uint64_t host = 0;  // a hash of NCCL_HOSTID or the name of the machine
};

const Settings& settings();

// A stable hash of text, the same in every process.
uint64_t hash_of(const std::string& text);

}  // namespace molora::fake_nccl
