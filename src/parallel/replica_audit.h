// A check that ranks which hold copies of the same parameter still hold the same bits.
//
// Replicas are kept equal by summing gradients in the same way everywhere. A fault in memory, in a
// network or in this program would part them silently and every later step would make it worse;
// this finds it at the next audit.
#pragma once

#include <string>
#include <vector>

#include "comm/mesh.h"
#include "parallel/parameter.h"

namespace molora {

// Compares the digests of every parameter within its sync group. Returns "" when all agree, else,
// equal on every rank, the first parameter that differs, which ranks hold which digest, and how
// many parameters differ. Collective; bytes sent: 32 per parameter to each other member.
std::string find_replica_difference(const Mesh& mesh, const std::vector<Parameter>& parameters);

}  // namespace molora
