#include "comm/fixed_order_sum.h"

#include <algorithm>
#include <cstdint>
#include <vector>

#include "base/mutation.h"

namespace molora {

namespace {

template <typename Number>
void sum_over_members(Communicator& communicator, std::span<Number> values) {
  if (communicator.size() == 1) return;
  const auto members = static_cast<size_t>(communicator.size());
  // Chunk i belongs to member i; the last ones are padded with zeros to equal length.
  const size_t chunk = (values.size() + members - 1) / members;
  std::vector<Number> padded(chunk * members, Number{0});
  std::copy(values.begin(), values.end(), padded.begin());

  std::vector<Number> parts(chunk * members);
  const std::vector<size_t> chunk_bytes(members, chunk * sizeof(Number));
  communicator.all_to_all(std::as_bytes(std::span(padded)), chunk_bytes,
                          std::as_writable_bytes(std::span(parts)), chunk_bytes);
  for (size_t member = 1; member < members; ++member) {
    if (MOLORA_MUTANT(kSumMissesLast) && member + 1 == members) continue;
    const Number* part = parts.data() + member * chunk;
    for (size_t i = 0; i < chunk; ++i) parts[i] += part[i];
  }
  if (MOLORA_MUTANT(kSumNotGathered)) return;
  communicator.all_gather(std::as_bytes(std::span(parts.data(), chunk)),
                          std::as_writable_bytes(std::span(padded)));
  std::copy_n(padded.begin(), values.size(), values.begin());
}

}  // namespace

void fixed_order_sum(Communicator& communicator, std::span<float> values) {
  sum_over_members(communicator, values);
}
void fixed_order_sum(Communicator& communicator, std::span<double> values) {
  sum_over_members(communicator, values);
}
void fixed_order_sum(Communicator& communicator, std::span<int64_t> values) {
  sum_over_members(communicator, values);
}

}  // namespace molora
