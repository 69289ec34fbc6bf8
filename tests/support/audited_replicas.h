// Parameters of every sync group on rank threads, one replica changed by a bit, and what the audit
// says.
#pragma once

#include <bit>
#include <cstdint>
#include <string>
#include <vector>

#include <fmt/format.h>

#include "comm/thread_communicator.h"
#include "parallel/replica_audit.h"

namespace molora::testing {

// A bit of this parameter's value on this rank of the world.
struct FlippedBit {
  std::string parameter;
  int rank = 0;
};

// Eight ranks, and none of the sync groups is another one.
inline MeshShape audited_shape() { return mesh_shape(8, 4, 2, 2); }

// "whole", "columns", "experts" and "heads", one in each sync group, and a second whole one.
inline std::vector<Parameter> audited_parameters(const Mesh& mesh,
                                                 const std::vector<FlippedBit>& flipped) {
  const auto parameter = [&](const std::string& name, SyncGroup sync, int part) {
    Parameter result;
    result.name = name;
    result.value = at::full({3}, 1.0 + part, at::kFloat);
    result.sync = sync;
    for (const FlippedBit& flip : flipped) {
      if (flip.parameter != name || flip.rank != mesh.world_rank()) continue;
      float& number = result.value.mutable_data_ptr<float>()[1];
      number = std::bit_cast<float>(std::bit_cast<uint32_t>(number) ^ 1U);
    }
    return result;
  };
  return {parameter("whole", SyncGroup::kAll, 0),
          parameter("columns", SyncGroup::kData, mesh.tp_rank()),
          parameter("experts", SyncGroup::kExpertData, mesh.ep_rank()),
          parameter("heads", SyncGroup::kKvReplicas, mesh.tp_rank() / mesh.shape().kv_replicas),
          parameter("whole.too", SyncGroup::kAll, 0)};
}

// What each rank is told.
inline std::vector<std::string> audit(const std::vector<FlippedBit>& flipped) {
  std::vector<std::string> found(static_cast<size_t>(audited_shape().world()));
  run_rank_threads(audited_shape().world(), [&](Communicator& world) {
    const Mesh mesh(world, audited_shape());
    found[static_cast<size_t>(world.rank())] =
        find_replica_difference(mesh, audited_parameters(mesh, flipped));
  });
  return found;
}

// Flips a bit of each parameter on rank 6 in turn. "" when every rank is told who differs from
// whom, else what somebody was told instead.
inline std::string audit_fault() {
  struct Expected {
    const char* parameter;
    const char* others;
    const char* group;
  };
  for (const Expected& expected : {Expected{"whole", "ranks 0, 1, 2, 3, 4, 5, 7 hold ", "all"},
                                   Expected{"columns", "rank 2 holds ", "dp"},
                                   Expected{"experts", "ranks 0, 2, 4 hold ", "edp"},
                                   Expected{"heads", "ranks 2, 3, 7 hold ", "kv"}}) {
    const std::vector<std::string> found = audit({{expected.parameter, 6}});
    for (size_t rank = 0; rank < found.size(); ++rank) {
      const std::string& told = found[rank];
      const bool is_right =
          told == found[0] && told.starts_with(fmt::format("{}: rank", expected.parameter)) &&
          told.find(expected.others) != std::string::npos &&
          told.find("rank 6 holds ") != std::string::npos &&
          told.ends_with(fmt::format("(1 parameters differ in this {} group)", expected.group));
      if (!is_right) {
        return fmt::format("a flipped bit in {}: rank {} is told '{}'", expected.parameter, rank,
                           told);
      }
    }
  }
  return {};
}

}  // namespace molora::testing
