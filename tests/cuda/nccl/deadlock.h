// Who waits for whom inside one communicator, read from what its ranks publish.
//
// A rank waits for another when its operation needs something that the other cannot give before it
// has ended the operation that it is at. Ranks in a circle of such waits never get out of it.
#pragma once

#include <cstdint>
#include <string>

#include "segment.h"

namespace molora::fake_nccl {

// Bit per rank that `rank` waits for.
uint64_t waits_of(const Segment& segment, int rank);

struct Circle {
  int next = -1;             // whom `rank` waits for in the circle; -1: there is no circle
  uint64_t fingerprint = 0;  // of all that matters for it; a circle that does not change is real
};
Circle circle_through(const Segment& segment, int rank);

// What a rank is at, in words.
std::string doing_of(const Segment& segment, int rank);

}  // namespace molora::fake_nccl
