#include "parallel/replica_audit.h"

#include <algorithm>
#include <map>

#include <fmt/format.h>

#include "base/mutation.h"
#include "device/compute_device.h"
#include "io/digest.h"
#include "tensor/tensor_bytes.h"

namespace molora {

namespace {

constexpr size_t kDigestLength = 32;  // of xxh3_hex

std::string digests_of(const std::vector<Parameter>& parameters, SyncGroup group) {
  std::string text;
  for (const Parameter& parameter : parameters) {
    if (parameter.sync != group) continue;
    text += xxh3_hex(tensor_bytes(to_host(parameter.value.detach().contiguous())));
  }
  return text;
}

// The world ranks of this rank's group, in the group's order.
std::vector<int> world_ranks(const Mesh& mesh, Axis axis) {
  const auto groups = axis_groups(mesh.shape(), axis);
  const auto mine = std::find_if(groups.begin(), groups.end(), [&](const auto& group) {
    return std::find(group.begin(), group.end(), mesh.world_rank()) != group.end();
  });
  return *mine;
}

// "ranks 0, 2 hold 1f3a..., rank 4 holds 77b0...".
std::string holders(const std::vector<std::string>& digests, size_t begin,
                    const std::vector<int>& ranks) {
  std::map<std::string, std::vector<int>> by_digest;
  for (size_t member = 0; member < digests.size(); ++member) {
    by_digest[digests[member].substr(begin, kDigestLength)].push_back(ranks[member]);
  }
  std::string text;
  for (const auto& [digest, who] : by_digest) {
    text +=
        fmt::format("{}rank{} {} hold{} {}", text.empty() ? "" : ", ", who.size() == 1 ? "" : "s",
                    fmt::join(who, ", "), who.size() == 1 ? "s" : "", digest);
  }
  return text;
}

// What differs in this rank's group; "" when nothing does.
std::string compare_group(const Mesh& mesh, const std::vector<Parameter>& parameters,
                          SyncGroup group) {
  const Axis axis = sync_axis(group);
  if (mesh.axis(axis).size() == 1) return {};
  const std::string mine = digests_of(parameters, group);
  std::vector<std::string> digests = all_gather_text(mesh.host(axis), mine);
  if (MOLORA_MUTANT(kAuditAlone)) digests.assign(digests.size(), mine);
  std::string first;
  size_t num_different = 0;
  size_t begin = 0;
  for (const Parameter& parameter : parameters) {
    if (parameter.sync != group) continue;
    const auto differs = [&](const std::string& other) {
      return other.compare(begin, kDigestLength, digests.front(), begin, kDigestLength) != 0;
    };
    if (std::any_of(digests.begin(), digests.end(), differs)) {
      if (num_different++ == 0) {
        first =
            fmt::format("{}: {}", parameter.name, holders(digests, begin, world_ranks(mesh, axis)));
      }
    }
    begin += kDigestLength;
  }
  if (num_different == 0) return {};
  return fmt::format("{} ({} parameters differ in this {} group)", first, num_different,
                     axis_name(axis));
}

}  // namespace

std::string find_replica_difference(const Mesh& mesh, const std::vector<Parameter>& parameters) {
  std::string mine;
  for (const SyncGroup group : kSyncGroups) {
    const std::string found = compare_group(mesh, parameters, group);
    if (mine.empty()) mine = found;
  }
  if (MOLORA_MUTANT(kAuditFindingKept)) return mine;
  for (const std::string& found : all_gather_text(mesh.host(Axis::kAll), mine)) {
    if (!found.empty()) return found;
  }
  return {};
}

}  // namespace molora
